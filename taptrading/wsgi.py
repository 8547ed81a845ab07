"""The WSGI application: REST, admin and page, served by the api workers in production.

What the web process answers by itself (POST bets, config, status, price, prices, grid, the socket)
is not here, and neither is its memory of the feed, which health and metrics read: the proxy in
front sends these there.
"""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taptrading.settings")
application = get_wsgi_application()

import taptrading.celery  # noqa: E402, F401  # shared tasks find their app
from taptrading import collector  # noqa: E402

collector.spare()
