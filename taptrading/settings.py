"""All settings, from the environment, each with a safe default or a refusal to start.

Rules of the game and bounds live in `limits.py` (TAP_<NAME>); this file holds where things are,
what the platform is called, and Django's own settings.
"""

import hashlib
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from taptrading import clock

BASE_DIR = Path(__file__).resolve().parent.parent


class _Env(environ.Env):  # type: ignore[misc]
    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError as problem:  # says nothing of whose value it is
            raise ImproperlyConfigured(f"{var} makes no sense: {problem}") from None


env = _Env()

PRODUCTION: bool = env.bool("PRODUCTION", False)
DEBUG: bool = env.bool("DEBUG", False)
# Demo mode: play money from a local custodian, completed at once.
DEMO: bool = env.bool("DEMO", not PRODUCTION)

_DEMO_SECRET = "demo-only-secret-that-production-refuses"  # noqa: S105
SECRET_KEY: str = env.str("SECRET_KEY", _DEMO_SECRET)
CUSTODY_SECRET: str = env.str("CUSTODY_SECRET", _DEMO_SECRET)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])

# What signed texts name. The port belongs to the domain, byte for byte.
DOMAIN: str = env.str("DOMAIN", "127.0.0.1:8000")
CHAIN_ID: int = env.int("CHAIN_ID", 8453)
ALLOWED_ORIGINS: list[str] = env.list(
    "ALLOWED_ORIGINS", default=[f"{'https' if PRODUCTION else 'http'}://{DOMAIN}"]
)
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS

# Where things are.
DATA_DIR = Path(env.str("DATA_DIR", str(BASE_DIR / "var")))
RECORDINGS_DIR = Path(env.str("RECORDINGS_DIR", str(BASE_DIR.parent / "shared" / "data")))


def _run_dir() -> Path:
    """A folder for Unix sockets, whose paths may be 107 bytes long at most."""
    inside = DATA_DIR / "run"
    if len(str(inside)) <= 80:
        return inside
    name = hashlib.sha256(str(DATA_DIR).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"taptrading-{os.getuid()}-{name}"


RUN_DIR = _run_dir()
STATIC_ROOT = DATA_DIR / "static"
try:
    for folder in (DATA_DIR, RUN_DIR, STATIC_ROOT):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written to")
except OSError as problem:
    raise ImproperlyConfigured(f"DATA_DIR={DATA_DIR} is unusable: {problem}") from problem

WRITER_SOCKET = Path(env.str("WRITER_SOCKET", str(RUN_DIR / "writer.sock")))
VALKEY_SOCKET = RUN_DIR / "valkey.sock"
# Without REDIS_URL the supervisor starts the embedded server on this socket.
REDIS_EMBEDDED = "REDIS_URL" not in os.environ
REDIS_URL: str = env.str("REDIS_URL", f"unix://{VALKEY_SOCKET}?db=0")
NODE: int = env.int("NODE", 0)

CLOCK_FILE: str = env.str("CLOCK_FILE", "")
if CLOCK_FILE:
    clock.use(clock.SharedClock(Path(CLOCK_FILE)))


def default_web_workers(cores: int) -> int:
    """The writer needs a core too: of two there is none left for a second web process."""
    return 1 if cores <= 2 else 2


# Processes that serve the web, on one port.
WEB_WORKERS: int = env.int("WEB_WORKERS", default_web_workers(len(os.sched_getaffinity(0))))
_WEB_WORKERS_MAX = 16

# Price in: simulated | replay | any of these.
_VENUES = ("binance", "coinbase", "kraken")
PRICE_SOURCES: list[str] = env.list("PRICE_SOURCES", default=["simulated"])
SOURCES_MIN: int = env.int("SOURCES_MIN", 1)
SIMULATED_SEED: int = env.int("SIMULATED_SEED", 1)
SIMULATED_SIGMA_PCT: int = env.int("SIMULATED_SIGMA_PCT", 60)
SIMULATED_START_CENTS: int = env.int("SIMULATED_START_CENTS", 9_500_000)
# Files below RECORDINGS_DIR, joined in this order.
REPLAY_FILES: list[str] = env.list("REPLAY_FILES", default=[])
BINANCE_URL: str = env.str("BINANCE_URL", "wss://stream.binance.com:9443/stream")
COINBASE_URL: str = env.str("COINBASE_URL", "wss://ws-feed.exchange.coinbase.com")
KRAKEN_URL: str = env.str("KRAKEN_URL", "wss://ws.kraken.com/v2")

DEMO_HOUSE_MICROS: int = env.int("DEMO_HOUSE_MICROS", 10_000_000_000_000)

# Django.
INSTALLED_APPS = [
    # Daphne serves `runserver`; loading it costs every other process half a second.
    *(["daphne"] if "runserver" in sys.argv else []),
    "ops.staff.apps.StaffAdmin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "storages",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "wallet",
    "pricefeed",
    "bets",
    "ops",
]
MIDDLEWARE = [
    "taptrading.middleware.Counted",
    "taptrading.api.RequestIdMiddleware",
    "taptrading.middleware.ShortBodies",
    "django.middleware.security.SecurityMiddleware",
    "taptrading.middleware.StaticFiles",
    "taptrading.middleware.StaffSessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "taptrading.middleware.Staff",
    "taptrading.middleware.SecondFactor",
    "taptrading.middleware.Messages",
    "ops.staff.acting.Acting",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "taptrading.urls"
ASGI_APPLICATION = "taptrading.asgi.application"
WSGI_APPLICATION = "taptrading.wsgi.application"
APPEND_SLASH = False
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before those of the admin, some of whose pages are ours.
        "DIRS": [BASE_DIR / "taptrading" / "web" / "templates", BASE_DIR / "ops" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

_NEW_FILE_PRAGMAS = "PRAGMA auto_vacuum=INCREMENTAL;"
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;"  # acknowledged means on disk
    "PRAGMA journal_size_limit=67108864;"
    "PRAGMA cache_size=-65536;"
    "PRAGMA temp_store=MEMORY;"
)


def _sqlite_pragmas(path: Path) -> str:
    """What every connection begins with. `auto_vacuum` takes hold only before the first table
    exists, and asking for it takes the write lock: a process must not wait for the writer to be
    let in."""
    is_new = not path.is_file() or path.stat().st_size == 0
    return _NEW_FILE_PRAGMAS + SQLITE_PRAGMAS if is_new else SQLITE_PRAGMAS


_SQLITE = "django.db.backends.sqlite3"
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url("DATABASE_URL", f"sqlite:///{DATA_DIR / 'taptrading.sqlite3'}")
}
# Recorded prices: beside the ledger's file, or in the ledger's own database (taptrading/databases).
if DATABASES["default"]["ENGINE"] == _SQLITE:
    _beside = Path(DATABASES["default"]["NAME"]).with_name("prices.sqlite3")
    DATABASES["prices"] = env.db_url("PRICES_DATABASE_URL", f"sqlite:///{_beside}")
elif "PRICES_DATABASE_URL" in os.environ:
    DATABASES["prices"] = env.db_url("PRICES_DATABASE_URL")
for _database in DATABASES.values():
    _database["CONN_MAX_AGE"] = 300
    if _database["ENGINE"] == _SQLITE:
        _database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 3,
            "init_command": _sqlite_pragmas(Path(_database["NAME"])),
        }
DATABASE_ROUTERS = ["taptrading.databases.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "tap"},
    }
}

CELERY_BROKER_URL: str = env.str(
    "CELERY_BROKER_URL",
    REDIS_URL.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host="),
)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TIMEZONE = "UTC"

# Staff: a password, then a code of a device of their own; five wrong passwords lock out.
STAFF_TWO_FACTOR: bool = env.bool("STAFF_TWO_FACTOR", not (DEMO or DEBUG))
STAFF_RECENT_S: int = env.int("STAFF_RECENT_S", 900)
# A proposal that nobody has approved by then is over.
PROPOSAL_HOURS: int = env.int("PROPOSAL_HOURS", 24)
SESSION_COOKIE_AGE: int = env.int("STAFF_SESSION_S", 8 * 3_600)
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT: int = env.int("STAFF_TRIES", 5)
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "admin/locked_out.html"
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
AXES_DISABLE_ACCESS_LOG = True  # the audit log has it
OTP_TOTP_ISSUER = "TapTrading"

# How long what staff and states did is remembered.
AUDIT_RETENTION_DAYS: int = env.int("AUDIT_RETENTION_DAYS", 2_557)  # seven years

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [path for path in [BASE_DIR / "taptrading" / "web" / "static"] if path.exists()]
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "taptrading.web.storage.HashedFiles"},
}

# Where the archive goes: a bucket (its keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or
# the machine's role), else a folder on this very disk, which outlives no disk.
S3_BUCKET: str = env.str("S3_BUCKET", "")
S3_ENDPOINT_URL: str = env.str("S3_ENDPOINT_URL", "")
S3_REGION: str = env.str("S3_REGION", "us-east-1")


def _kept_in(folder: str, storage_class: str) -> dict[str, Any]:
    """A storage of its own: this prefix of the bucket, or this folder."""
    if not S3_BUCKET:
        options = {"location": DATA_DIR / folder, "allow_overwrite": True}
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": S3_ENDPOINT_URL or None,
            "region_name": S3_REGION,
            "location": folder,
            "default_acl": None,
            "file_overwrite": True,
            "object_parameters": {"StorageClass": storage_class, "ChecksumAlgorithm": "SHA256"},
        },
    }


STORAGES["archive"] = _kept_in("archive", "STANDARD_IA")
STORAGES["backups"] = _kept_in("backups", "STANDARD")
# Segments that are read without being fetched: the recent ones, and those asked for lately.
SEGMENTS_DIR = DATA_DIR / "segments"

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["wallet.authentication.SessionTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["taptrading.api.SignedIn"],
    "DEFAULT_PARSER_CLASSES": ["taptrading.api.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["taptrading.render.FastJSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "taptrading.pages.CursorPage",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "taptrading.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "TapTrading",
    "VERSION": "1",
    "DESCRIPTION": "Tap trading: signed bets on real prices.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",  # what follows it groups the operations
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "taptrading.schema.add_raw_paths",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# The trader's session (bearer token or this cookie); staff use Django's own.
SESSION_COOKIE = "tap_session"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "taptrading.api.csrf_failure"
if PRODUCTION:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000

LOG_LEVEL: str = env.str("LOG_LEVEL", "INFO")
# `json` or `text`; what was decided about every bet; how long the supervisor's own file may get.
LOG_FORMAT: str = env.str("LOG_FORMAT", "json" if PRODUCTION else "text")
BET_LOG: bool = env.bool("BET_LOG", PRODUCTION)
LOG_FILE_MIB: int = env.int("LOG_FILE_MIB", 256 if PRODUCTION else 16)
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "taptrading.logs.Readable"},
        "json": {"()": "taptrading.logs.json_formatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "journal": {"level": "INFO" if BET_LOG else "WARNING"},
        # It has handlers of its own by the time that it loads us.
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.access": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "axes": {"level": "ERROR"},  # lock-outs are in the audit log
        "httpx": {"level": "WARNING"},
    },
}

# Affected versions can lose committed writes; see taptrading/__init__.py.
ALLOW_UNSAFE_SQLITE: bool = env.bool("ALLOW_UNSAFE_SQLITE", False)


def _sqlite_is_safe() -> bool:
    import sqlite3

    version = sqlite3.sqlite_version_info
    fixed_branches = ((3, 50, 7), (3, 44, 6))
    return version >= (3, 51, 3) or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in fixed_branches
    )


def _price_problems() -> list[str]:
    names = set(PRICE_SOURCES)
    alone = {"simulated", "replay"}
    problems = []
    if unknown := sorted(names - alone - set(_VENUES)):
        problems.append(
            f"PRICE_SOURCES holds the unknown {', '.join(unknown)}: it is simulated, replay, or"
            f" any of {', '.join(_VENUES)}"
        )
    if len(PRICE_SOURCES) != 1 and (not names or names & alone or len(names) < len(PRICE_SOURCES)):
        problems.append(
            "PRICE_SOURCES is simulated alone, replay alone, or one or more venues, each once"
        )
    if not 1 <= SOURCES_MIN <= max(1, len(PRICE_SOURCES)):
        problems.append(
            f"SOURCES_MIN={SOURCES_MIN} is not in 1 … {len(PRICE_SOURCES)}, the number of"
            " PRICE_SOURCES: there would never be a tick"
        )
    if "replay" in names:
        missing = [name for name in REPLAY_FILES if not (RECORDINGS_DIR / name).is_file()]
        if not REPLAY_FILES:
            problems.append("PRICE_SOURCES=replay needs REPLAY_FILES, below RECORDINGS_DIR")
        if missing:
            problems.append(f"REPLAY_FILES not found below {RECORDINGS_DIR}: {', '.join(missing)}")
    return problems


def _refuse_to_start() -> None:
    problems = _price_problems()
    if LOG_FORMAT not in LOGGING["formatters"]:
        problems.append(f"LOG_FORMAT is json or text, not {LOG_FORMAT!r}")
    if not 1 <= WEB_WORKERS <= _WEB_WORKERS_MAX:
        problems.append(f"WEB_WORKERS={WEB_WORKERS} is not in 1 … {_WEB_WORKERS_MAX}")
    if "sqlite3" in DATABASES["default"]["ENGINE"] and not (
        _sqlite_is_safe() or ALLOW_UNSAFE_SQLITE
    ):
        problems.append("this SQLite can lose committed writes (ALLOW_UNSAFE_SQLITE=1 overrides)")
    if AUDIT_RETENTION_DAYS < 1:
        problems.append("AUDIT_RETENTION_DAYS is below 1: nothing would be remembered")
    if PRODUCTION:
        if DEBUG:
            problems.append("DEBUG is on")
        if DEMO:
            problems.append("DEMO is on: anyone could mint money")
        if _DEMO_SECRET in (SECRET_KEY, CUSTODY_SECRET) or len(SECRET_KEY) < 40:
            problems.append("SECRET_KEY and CUSTODY_SECRET must be set, 40 characters or more")
        if not STAFF_TWO_FACTOR:
            problems.append("STAFF_TWO_FACTOR is off: a password alone would open the admin")
        if CLOCK_FILE:
            problems.append("CLOCK_FILE is set: production runs on real time")
        if "*" in ALLOWED_HOSTS:
            problems.append("ALLOWED_HOSTS admits every host")
        if not set(PRICE_SOURCES) <= set(_VENUES):
            problems.append("PRICE_SOURCES holds a source that is not a venue")
    if problems:
        raise ImproperlyConfigured("refusing to start: " + "; ".join(problems))


_refuse_to_start()
TESTING = "pytest" in sys.modules
