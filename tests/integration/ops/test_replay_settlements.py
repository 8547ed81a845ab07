"""`manage.py replay_settlements`: settles what is due, and finds books that do not agree with what
was recorded."""

import io
import json
import sys
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from bets import tasks
from bets.models import Bet, Settlement
from bets.resolution import deflate_evidence
from pricefeed.board import Board
from pricefeed.models import Tick
from tests import factories
from tests.factories import accepted, place_command
from tests.fakes import InProcessLink, ManualClock

COMMAND = "replay_settlements"


@pytest.fixture
def bet(writer: InProcessLink, now: ManualClock, feed_board: Board) -> Bet:
    """Confirmed, its column over and recorded without a gap, nobody has settled it."""
    factories.funded_house(writer)
    factories.tick(feed_board)
    accepted(writer.call(place_command(factories.funded_wallet(writer))))
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    bet = Bet.objects.get()
    now.us = (bet.column_start - 6) * 1_000_000
    for _ in range(120):
        factories.tick(feed_board)
        now.advance(0.1)
    return bet


def asked(*words: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    try:
        call_command(COMMAND, "--json", *words, stdout=out)
    except SystemExit as left:
        return int(left.code or 0), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def test_replay_when_a_column_is_due_then_settled_and_the_books_agree(bet: Bet) -> None:
    code, told = asked()
    bet.refresh_from_db()
    assert bet.status == "won"
    assert (code, told["settled_bets"], told["differences"]) == (0, 1, [])
    assert told["bets"] == 1
    assert told["from_ticks"] >= 1
    assert asked()[1]["settled_bets"] == 0  # again: nothing more


def test_replay_when_dry_then_settles_nothing_and_says_what_is_due(
    bet: Bet, now: ManualClock
) -> None:
    assert asked("--dry-run") == (
        0, {"settled_bets": 0, "still_due": [], "columns": 0, "from_ticks": 0, "bets": 0,
            "differences": []},
    )  # fmt: skip
    now.advance(61)  # past the patience with recordings
    code, told = asked("--dry-run")
    assert (code, told["still_due"]) == (1, [bet.column_start])
    bet.refresh_from_db()
    assert bet.status == "confirmed"


def whats(told: dict[str, Any]) -> set[str]:
    return {one["what"] for one in told["differences"]}


def test_replay_when_a_bet_was_paid_otherwise_then_named(bet: Bet) -> None:
    tasks.settle_due_columns()
    Bet.objects.update(status="lost", payout_micros=0)
    code, told = asked("--dry-run", "--column", str(bet.column_start))
    assert code == 1
    (found,) = told["differences"]
    assert found["what"] == f"bet {bet.pk}"
    assert found["stored"] == "lost 0"
    assert found["replayed"].startswith("won ")


def test_replay_when_a_decision_was_changed_then_evidence_and_ticks_both_say_so(bet: Bet) -> None:
    tasks.settle_due_columns()
    _tamper("low_cents = low_cents - 1000", bet.column_start)
    code, told = asked("--dry-run")
    assert code == 1
    assert whats(told) == {"low_cents by evidence", "low_cents by ticks"}


def test_replay_when_the_evidence_was_changed_then_its_hash_says_so(bet: Bet) -> None:
    tasks.settle_due_columns()
    stored = Settlement.objects.get(column_start=bet.column_start)
    at_ms = bet.column_start * 1_000
    stored.evidence = deflate_evidence(f"{at_ms} 1\n{at_ms + 5_000} 1")
    _tamper("evidence = %s", bet.column_start, stored.evidence)
    code, told = asked("--dry-run", "--column", str(bet.column_start))
    assert code == 1
    assert {"hash of evidence", "low_cents by evidence", f"bet {bet.pk}"} <= whats(told)


def test_replay_when_a_recorded_tick_was_changed_then_the_ticks_say_so(bet: Bet) -> None:
    tasks.settle_due_columns()
    inside = Tick.objects.filter(at__gt=_instant(bet.column_start)).first()
    assert inside is not None
    Tick.objects.filter(pk=inside.pk).update(price_cents=1)
    _, told = asked("--dry-run")
    assert {"low_cents by ticks", "ticks_sha256 by ticks"} <= whats(told)


def test_replay_when_told_for_people_then_a_sentence_a_difference(
    bet: Bet, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks.settle_due_columns()
    Bet.objects.update(status="void")
    with pytest.raises(SystemExit):
        call_command(COMMAND, "--dry-run", stdout=sys.stdout)
    text = capsys.readouterr().out
    assert f"DIFFERS: column {bet.column_start}, bet {bet.pk}: the books say void" in text
    assert "1 differences" in text


def _instant(column_start: int) -> Any:
    from taptrading import clock

    return clock.from_us(column_start * clock.US_PER_S)


def _tamper(change: str, column_start: int, *values: Any) -> None:
    """Past the triggers, if there are any."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE bets_settlement SET {change} WHERE column_start = %s",
            [*values, column_start],
        )
