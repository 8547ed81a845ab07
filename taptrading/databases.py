"""Where tables live: recorded prices apart from the ledger.

SQLite has one write lock a file, and a commit by another process makes a connection forget all
pages it holds. The price feed commits ten times a second, so it has a file of its own and the
writer is the only one that writes to the ledger's all the time. A server's database has neither
trouble: there both may be one.
"""

from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

_OWN_APP: Final = "pricefeed"
PRICES: Final = "prices" if "prices" in settings.DATABASES else DEFAULT_DB_ALIAS


class Router:
    """Django's question: which database holds this model's table?"""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return _home(model._meta.app_label)

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return _home(model._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == _home(app_label)


def _home(app_label: str) -> str:
    return PRICES if app_label == _OWN_APP else DEFAULT_DB_ALIAS
