"""A worker that leaves waiting work where it is ends, and its supervisor starts it anew.

When Redis dies just as finished tasks are being acknowledged, the transport takes them for under
way for ever. Once they fill the worker's places it asks for no more work, and so does not notice
that its connection is gone either.
"""

import logging
from typing import Any, Final

from celery import bootsteps
from celery.worker import state
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
LOOKS: Final = 5
# Before its first task: a worker that starts on a busy machine, or finds a heap of tasks that have
# expired meanwhile, must not be taken for one that is stuck, or it would never come up.
LOOKS_AT_FIRST: Final = 120


class Idleness:
    """How often in a row work was seen to wait, while none was under way or begun."""

    def __init__(self) -> None:
        self.looks = 0
        self._begun = 0

    def look(self, *, waiting: int, under_way: int, begun: int) -> bool:
        """Whether it has become too often. `begun`: tasks ever begun."""
        idle = waiting > 0 and under_way == 0 and begun == self._begun
        self._begun = begun
        self.looks = self.looks + 1 if idle else 0
        return self.looks >= (LOOKS if begun else LOOKS_AT_FIRST)


class Watch(bootsteps.StartStopStep):
    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self._idleness = Idleness()
        self._timer: Any = None

    def start(self, worker: Any) -> None:
        self._timer = worker.timer.call_repeatedly(LOOK_EVERY_S, self._look, (worker.app,))

    def stop(self, worker: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, app: Any) -> None:
        begun, under_way = state.all_total_count[0], len(state.active_requests)
        if self._idleness.look(waiting=waiting(app), under_way=under_way, begun=begun):
            log.critical("work waits and is not taken: ending, to be started anew")
            state.should_stop = 1  # type: ignore[assignment]


def waiting(app: Any) -> int:
    """Tasks in the broker's queue, which is Redis; 0 if it cannot be asked."""
    with app.connection_for_read() as connection:
        try:
            return int(connection.default_channel.client.llen(app.conf.task_default_queue))
        except (OperationalError, *connection.connection_errors) as error:
            log.debug("how much work waits is not known: %s", error)
            return 0
