#!/usr/bin/env python
"""Django's command line: `manage.py help` lists what an operator can do."""

import os
import sys


def load_settings() -> None:
    """What is wrong in the environment is one line that says so, not a traceback."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        import taptrading.limits  # noqa: F401

        settings.INSTALLED_APPS  # noqa: B018
    except (ImproperlyConfigured, OSError, ValueError) as problem:  # LimitsError is a ValueError
        sys.exit(str(problem))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taptrading.settings")
    load_settings()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
