"""Celery, and the whole timetable of the platform. Tasks live in each app's `tasks.py`.

Every task is safe to run twice: a lost acknowledgement means another run, never a wrong one.
"""

import logging.config
import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging

from taptrading.watch import Watch

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taptrading.settings")

app = Celery("taptrading", set_as_current=True)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    worker_hijack_root_logger=False,
    # A worker outlives a broker that restarts; who sends a task does not wait for one.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_publish_retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5},
    broker_transport_options={
        "global_keyprefix": "celery:",
        # A task in the hands of a worker that died is given out again after this.
        "visibility_timeout": 300,
        "socket_connect_timeout": 5,
        "max_retries": 2,
        "interval_start": 0.1,
        "interval_max": 0.5,
    },
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    beat_max_loop_interval=5,
)
app.autodiscover_tasks()
app.steps["worker"].add(Watch)

app.conf.beat_schedule = {
    # A beat that nobody took in five seconds is worth nothing: the next one does its work.
    "settle due columns": {
        "task": "bets.settle_due_columns",
        "schedule": 1.0,
        "options": {"expires": 5},
    },
    "advance withdrawals": {
        "task": "wallet.advance_withdrawals",
        "schedule": 1.0,
        "options": {"expires": 5},
    },
    "gather audit": {
        "task": "ops.gather_audit",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "carry out proposals": {
        "task": "ops.carry_out_proposals",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "verify ledger": {
        "task": "ops.verify_ledger",
        "schedule": crontab(hour=2, minute=0),
        "options": {"expires": 3_000},
    },
    "reconcile custody": {
        "task": "ops.reconcile_custody",
        "schedule": crontab(hour=2, minute=0),
        "options": {"expires": 3_000},
    },
    "tell custody": {
        "task": "ops.tell_custody",
        "schedule": 60.0,
        "options": {"expires": 30},
    },
    "archive": {
        "task": "ops.archive",
        "schedule": crontab(day_of_week="sunday", hour=0, minute=0),
        "options": {"expires": 3_000},
    },
    "tell archive": {
        "task": "ops.tell_archive",
        "schedule": 60.0,
        "options": {"expires": 30},
    },
    "watch disk": {
        "task": "ops.watch_disk",
        "schedule": 60.0,
        "options": {"expires": 30},
    },
    "project growth": {
        "task": "ops.project_growth",
        "schedule": 600.0,
        "options": {"expires": 300},
    },
    "backup": {
        "task": "ops.backup",
        "schedule": crontab(minute=5),
        "options": {"expires": 3_000},
    },
    "restore drill": {
        "task": "ops.restore_drill",
        "schedule": crontab(day_of_week="wednesday", hour=3, minute=30),
        "options": {"expires": 3_000},
    },
    "tell backups": {
        "task": "ops.tell_backups",
        "schedule": 60.0,
        "options": {"expires": 30},
    },
    "prune": {
        "task": "ops.prune",
        "schedule": crontab(minute=17),
        "options": {"expires": 3_000},
    },
}


@setup_logging.connect
def _log_as_django_does(**_: Any) -> None:
    """Celery leaves logging alone when somebody answers this signal."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)
    # A line for each task sent, received, done or expired would bury the rest.
    logging.getLogger("celery").setLevel(logging.WARNING)
