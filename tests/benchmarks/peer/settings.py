"""Django's settings of the peer: nothing but what the one endpoint needs."""

import os

import taptrading  # noqa: F401  # the same safe SQLite
from taptrading.limits import LIMITS

SECRET_KEY = "peer"
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["rest_framework", "tests.benchmarks.peer"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]  # for Content-Length
ROOT_URLCONF = "tests.benchmarks.peer.urls"
APPEND_SLASH = False
WSGI_APPLICATION = "tests.benchmarks.peer.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("PEER_DATABASE", ":memory:"),
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # As the platform's own (taptrading.settings).
            "init_command": (
                "PRAGMA journal_mode=WAL;"
                "PRAGMA synchronous=FULL;"
                "PRAGMA journal_size_limit=67108864;"
                "PRAGMA cache_size=-65536;"
                "PRAGMA temp_store=MEMORY;"
            ),
        },
    }
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
}

# What signed texts name, and the quote: these bands, at this rate. Wide, since it never moves.
DOMAIN = os.environ.get("PEER_DOMAIN", "")
CHAIN_ID = 8453
OFFERED_LOWS = range(LIMITS.band_cents, 100_000_000, LIMITS.band_cents)
RATE_BPS = 18_000
