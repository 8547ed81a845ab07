"""The timetable: what is due how often, and what becomes of a beat that nobody took."""

from taptrading.celery import app


def test_timetable_when_read_then_holds_the_three_duties() -> None:
    duties = {entry["task"]: entry["schedule"] for entry in app.conf.beat_schedule.values()}

    assert duties["bets.settle_due_columns"] == 1.0
    assert duties["wallet.advance_withdrawals"] == 1.0
    assert "ops.prune" in duties


def test_timetable_when_beats_pile_up_then_each_of_them_expires() -> None:
    assert all(entry["options"]["expires"] > 0 for entry in app.conf.beat_schedule.values())


def test_tasks_when_loaded_then_those_of_the_timetable_are_known_by_name() -> None:
    app.loader.import_default_modules()

    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
