#!/usr/bin/env python
"""Django's command line: `manage.py help` lists what an operator can do."""

import os
import sys
from typing import NoReturn


def load_settings() -> None:
    """What is wrong in the environment is one line that says so, not a traceback."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        import taptrading.limits  # noqa: F401

        settings.INSTALLED_APPS  # noqa: B018
    except (ImproperlyConfigured, OSError, ValueError) as problem:  # LimitsError is a ValueError
        if sys.argv[1:2] == ["doctor"]:
            _explain(str(problem))
        sys.exit(str(problem))


def _explain(problem: str) -> NoReturn:
    """What the doctor says where the settings let no command begin."""
    from ops.doctor import report, worst

    found = report.refused(problem)
    sys.stdout.write(
        (report.as_json(found) if "--json" in sys.argv else report.as_text(found)) + "\n"
    )
    sys.exit(report.EXIT[worst(found)])


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taptrading.settings")
    load_settings()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
