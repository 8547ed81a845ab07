"""`manage.py migrate`: every database, unless one is named."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.core.management.commands import migrate


class Command(migrate.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=None)

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        return {"databases": _databases(options)}

    def handle(self, *args: Any, **options: Any) -> None:
        for database in _databases(options):
            super().handle(*args, **options | {"database": database})


def _databases(options: dict[str, Any]) -> list[str]:
    return [options["database"]] if options["database"] else list(settings.DATABASES)
