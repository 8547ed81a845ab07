"""What the WSGI server loads."""

import taptrading  # noqa: F401, I001  # the safe SQLite, before anything imports another

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.peer.settings")
application = get_wsgi_application()
