"""Everything that the settings name: are they safe, and does what they name answer?"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from ops import embedded, health
from ops.archive import status as archive_status
from ops.backup import status as backup_status
from ops.doctor import BAD, NOTE, OK, WARN, Check, Finding, ground
from ops.lock import AlreadyRunning, FolderLock
from pricefeed.board import Board
from taptrading import clock
from taptrading.limits import LIMITS
from wallet.models import LedgerEntry, Wallet

_HOUR_S: Final = 3_600
_BACKUP_LATE_S: Final = 3 * _HOUR_S
_ARCHIVE_LATE_S: Final = 8 * 24 * _HOUR_S
_CLOCKS_APART_MS: Final = 500
_OUR_OWN: Final = ("valkey.sock", "writer.sock")
_START: Final = "`make run`, or the service's unit."


def mode() -> Iterator[Finding]:
    """What kind of installation the settings make this."""
    if settings.PRODUCTION:
        yield Finding("mode", OK, f"production, for {settings.DOMAIN}")
        return
    what = "a demo with play money" if settings.DEMO else "neither demo nor production"
    yield Finding(
        "mode", NOTE, f"{what}, for {settings.DOMAIN}",
        "Real money takes PRODUCTION=1, which refuses what is unsafe.",
    )  # fmt: skip
    if settings.CLOCK_FILE:
        advice = "Unset CLOCK_FILE outside tests."
        yield Finding("mode", WARN, "time is read from CLOCK_FILE, not from the machine", advice)
    if settings.ALLOW_UNSAFE_SQLITE:
        yield Finding("mode", WARN, "ALLOW_UNSAFE_SQLITE is on", "Unset it.")


def domain() -> Iterator[Finding]:
    """What wallets sign is compared byte for byte with it."""
    name = str(settings.DOMAIN)
    if "://" in name or "/" in name:
        says = f"DOMAIN={name} is no host with an optional port"
        advice = "Without scheme and path, as the address bar shows it: play.example.com"
        yield Finding("domain", BAD, says, advice)
    elif any(name not in origin for origin in settings.ALLOWED_ORIGINS[:1]):
        says = f"ALLOWED_ORIGINS={','.join(settings.ALLOWED_ORIGINS)} does not hold DOMAIN={name}"
        yield Finding("domain", WARN, says, "Pages of another origin sign for another domain.")
    else:
        yield Finding("domain", OK, name)


def data() -> Iterator[Finding]:
    yield from ground.data_folder(Path(settings.DATA_DIR))
    length = len(str(settings.WRITER_SOCKET))
    if length > 100:
        says = f"the writer's socket has a path of {length} bytes; the kernel takes 107"
        yield Finding("data folder", BAD, says, "Choose a shorter DATA_DIR or WRITER_SOCKET.")


def database() -> Iterator[Finding]:
    for connection in connections.all():
        name = f"database {connection.alias}"
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                wal = connection.vendor != "sqlite" or _pragma(cursor, "journal_mode") == "wal"
        except DatabaseError as error:
            advice = "Is it there, whole, and ours? docs/runbooks/sqlite-locked.md"
            yield Finding(name, BAD, f"does not answer: {error}", advice)
            continue
        except ImproperlyConfigured as error:
            yield Finding(name, BAD, f"its driver is missing: {error}", "Install the driver.")
            continue
        executor = MigrationExecutor(connection)
        due = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if not executor.loader.applied_migrations:
            advice = "`make run` makes its tables, as `manage.py migrate` does."
            yield Finding(name, NOTE, "is empty", advice)
        elif due:
            says = f"{len(due)} migrations are due, {due[0][0]} first"
            advice = "`manage.py migrate`, with the platform stopped; `make run` does it itself."
            yield Finding(name, BAD, says, advice)
        elif not wal:
            yield Finding(name, WARN, "its journal is no WAL", "Was the file copied? Start anew.")
        else:
            yield Finding(name, OK, f"{connection.vendor}, no migration is due")


def _pragma(cursor: Any, name: str) -> Any:
    cursor.execute(f"PRAGMA {name}")
    return cursor.fetchone()[0]


def redis_server() -> Iterator[Finding]:
    if settings.REDIS_EMBEDDED:
        try:
            embedded.find_server()
        except embedded.NoServer as error:
            yield Finding("redis", BAD, "no program to start", str(error))
            return
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1, retry=None
    )
    try:
        with client:
            seconds, micros = client.time()
            now_us = clock.Clock().now_us()
            facts = client.info()
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except redis.AuthenticationError:
        yield Finding("redis", BAD, "it wants a password", "REDIS_URL=redis://:<password>@host/0")
        return
    except (redis.RedisError, OSError) as error:
        if settings.REDIS_EMBEDDED and not _is_up():
            yield Finding("redis", NOTE, "its own one, which runs with the platform")
        else:
            says = f"does not answer: {error}"
            yield Finding("redis", BAD, says, "docs/runbooks/redis-lost.md; is REDIS_URL right?")
        return
    yield from _redis_ways(facts, policy)
    apart_ms = abs(seconds * clock.US_PER_S + micros - now_us) // clock.US_PER_MS
    if apart_ms > _CLOCKS_APART_MS:
        says = f"its machine's clock and ours are {apart_ms} ms apart"
        yield Finding("clock", BAD, says, "Run chrony or systemd-timesyncd on both.")


def _redis_ways(facts: dict[str, Any], policy: str | None) -> Iterator[Finding]:
    version = facts.get("valkey_version") or facts.get("redis_version")
    yield Finding("redis", OK, f"version {version}")
    if policy not in (None, "noeviction"):
        says = f"maxmemory-policy is {policy}: it may forget a nonce that is still good"
        yield Finding("redis", BAD, says, "CONFIG SET maxmemory-policy noeviction, and in its file")
    if not facts.get("aof_enabled"):
        says = "it keeps no append-only file: a restart forgets nonces and what is queued"
        yield Finding("redis", WARN, says, "CONFIG SET appendonly yes, and in its file")


def parts() -> Iterator[Finding]:
    """Whether the platform runs, and each part does its work."""
    if not _is_up():
        yield Finding("platform", NOTE, "not running on this data folder", _START)
        return
    yield Finding("platform", OK, "running")
    _, board = health.check_redis()
    if health.check_writer()["status"] == health.OK:
        yield Finding("writer", OK, "answers")
    else:
        yield Finding(
            "writer", BAD, "does not answer: no money moves", "docs/runbooks/writer-down.md"
        )
    feed = health.check_price_feed(board or Board(), clock.now_us())
    age = feed["stale_for_ms"]
    if feed["status"] == health.OK:
        yield Finding("price feed", OK, f"newest tick is {age} ms old")
    else:
        says = "there is no tick" if age is None else f"newest tick is {age} ms old: no bets"
        yield Finding("price feed", BAD, says, "docs/runbooks/price-feed.md")
    if board is not None and board.override == "open":
        says = f"an operator holds it open: {board.reason}"
        yield Finding("breaker", WARN, says, "docs/runbooks/breaker-override.md")


def _is_up() -> bool:
    """Somebody holds the folder, or, where each part is a service of its own, a socket is there."""
    lock = FolderLock(Path(settings.DATA_DIR) / "platform.lock")
    try:
        lock.take()
    except AlreadyRunning:
        return True
    lock.release()
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(1)
        probe.connect(str(settings.WRITER_SOCKET))
        return True
    return False


def _has_tables() -> bool:
    try:
        return Wallet._meta.db_table in connections["default"].introspection.table_names()
    except DatabaseError:  # `database` says so
        return False


def money() -> Iterator[Finding]:
    if not _has_tables():
        return
    house = Wallet.objects.filter(kind=Wallet.Kind.HOUSE).order_by("id").first()
    if house is None or not LedgerEntry.objects.filter(kind="FUNDING").exists():
        says = "the house has no money: every bet is refused with limit_reached"
        yield Finding("house", WARN, says, "`manage.py fund_house`, docs/runbooks/house-funding.md")
        return
    most_micros = house.balance_micros * LIMITS.bet_liability_ppm // 1_000_000
    if most_micros < 1_000_000:
        says = "no bet of 1 USDC fits what the house may owe on one bet"
        yield Finding("house", BAD, says, "`manage.py fund_house`, docs/runbooks/house-funding.md")
    else:
        yield Finding("house", OK, f"may owe up to {most_micros // 1_000_000} USDC on one bet")


def by_the_clock() -> Iterator[Finding]:
    """Backups and archive: whether there are any, where to, and how old."""
    if not settings.S3_BUCKET:
        state = WARN if settings.PRODUCTION else NOTE
        says = "backups and archive stay on this very disk"
        yield Finding("storage", state, says, "Set S3_BUCKET: a disk that dies takes them along.")
    elif "AWS_ACCESS_KEY_ID" not in os.environ:
        says = "S3_BUCKET without AWS_ACCESS_KEY_ID: the machine's role has to do"
        yield Finding("storage", NOTE, says)
    now_s = clock.now_us() // clock.US_PER_S
    taken = backup_status.known().get("taken_at")
    if taken is None:
        yield Finding("backup", NOTE, "none was taken yet", "`manage.py backup_db` takes one now.")
    elif now_s - taken > _BACKUP_LATE_S:
        says = f"the newest is {(now_s - taken) / _HOUR_S:.0f} h old"
        yield Finding("backup", BAD, says, "docs/runbooks/backup-restore.md")
    else:
        yield Finding("backup", OK, f"the newest is {(now_s - taken) / 60:.0f} min old")
    if not _has_tables():
        return
    late_s = now_s - archive_status.last_success_us() // clock.US_PER_S
    if late_s > _ARCHIVE_LATE_S:
        yield Finding("archive", WARN, f"{late_s // 86_400} days old", "docs/runbooks/archive.md")


CHECKS: Final[tuple[Check, ...]] = (
    *(mode, domain, data, database, redis_server, parts, money, by_the_clock),
)
