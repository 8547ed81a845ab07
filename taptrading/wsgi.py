"""The WSGI application: REST, admin and page, served by the api workers in production."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taptrading.settings")
application = get_wsgi_application()
