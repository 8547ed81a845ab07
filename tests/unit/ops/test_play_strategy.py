"""What the trader taps, what it remembers, and what the person watching sees."""

import io
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest
from rich.console import Console

from ops.play.journal import Journal, Tap, percentile
from ops.play.screen import LiveScreen, PlainScreen, cell_text, make_screen
from ops.play.strategy import Choice, choose
from taptrading.client.shapes import Bet, Config, GridUpdate

NOW_S = 1_764_000_000
CONFIG = Config(
    domain="tap.example",
    chain_id=1,
    version=1,
    presets_micros=[1_000_000],
    column_s=5,
    band_cents=1_000,
    columns=12,
    bands=24,
    locked_columns=2,
    edge_bps=300,
    index_hz=10,
    pricing_delay_ms=250,
    rate_max_bps=200_000,
    demo=True,
)


def _grid(*rows: list[int | None], room_micros: int | None = 9_000_000) -> GridUpdate:
    return GridUpdate(
        quoted_at=None,
        price_cents=None,
        column_starts=[NOW_S + 10 + 5 * number for number in range(len(rows))],
        lows_cents=[1_000 * number for number in range(len(rows[0]))],
        rates_bps=list(rows),
        room_micros=[[room_micros] * len(row) for row in rows],
    )


def _choose(grid: GridUpdate, **changes: Any) -> Choice | None:
    asked: dict[str, Any] = {
        "now_us": NOW_S * 1_000_000,
        "stake_micros": 5_000_000,
        "avoid": set(),
        "likely": True,
        "rng": Random(1),
    }
    return choose(grid, CONFIG, **(asked | changes))


def test_choose_when_likely_takes_a_low_rate_and_a_high_one_otherwise() -> None:
    grid = _grid([None, 15_000, 30_000, 90_000])

    assert _choose(grid, likely=True) == Choice(f"{NOW_S + 10}_1000_2000", 15_000)
    assert _choose(grid, likely=False) == Choice(f"{NOW_S + 10}_2000_3000", 30_000)


def test_choose_when_no_rate_is_as_wished_takes_the_closest() -> None:
    assert _choose(_grid([10_500, 90_000])) == Choice(f"{NOW_S + 10}_0_1000", 10_500)


@pytest.mark.parametrize(("late_us", "opens"), [(0, True), (3_500_000, True), (3_500_001, False)])
def test_choose_when_the_column_is_about_to_lock_leaves_it(late_us: int, opens: bool) -> None:
    choice = _choose(_grid([15_000]), now_us=NOW_S * 1_000_000 + late_us)

    assert (choice is not None) is opens


def test_choose_when_columns_are_far_away_leaves_them() -> None:
    rows: list[list[int | None]] = [[None], [None], [None], [None], [15_000]]

    assert _choose(_grid(*rows)) is None


def test_choose_when_there_is_no_room_for_the_stake_leaves_the_cell() -> None:
    assert _choose(_grid([15_000], room_micros=4_999_999)) is None
    assert _choose(_grid([15_000], room_micros=None)) is None
    assert _choose(_grid([15_000], room_micros=5_000_000)) is not None


def test_choose_when_cells_were_tapped_avoids_them() -> None:
    grid = _grid([15_000, 16_000])

    choice = _choose(grid, avoid={f"{NOW_S + 10}_0_1000"})

    assert choice == Choice(f"{NOW_S + 10}_1000_2000", 16_000)


def test_choose_when_seeded_alike_chooses_alike() -> None:
    grid = _grid([12_000 + number for number in range(50)])

    first = [_choose(grid, rng=Random(seed)) for seed in range(5)]
    second = [_choose(grid, rng=Random(seed)) for seed in range(5)]

    assert first == second
    assert len(set(first)) > 1


def test_min_rate_when_chosen_is_a_quarter_below_and_never_below_the_stake() -> None:
    assert Choice("", 20_001).min_rate_bps == 15_000
    assert Choice("", 12_000).min_rate_bps == 10_000


def _tap(number: int = 1) -> Tap:
    return Tap(
        number=number,
        cell_id="1764000010_9500000_9501000",
        stake_micros=5_000_000,
        rate_bps=15_000,
        by="key",
        via="http",
        tapped_us=1_000_000,
    )


def _bet(status: str, **changes: Any) -> Bet:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return msgspec.convert(
        {
            "bet_id": "7",
            "status": status,
            "cell_id": "1764000010_9500000_9501000",
            "stake_micros": 5_000_000,
            "min_rate_bps": 12_000,
            "rate_bps": 15_500,
            "potential_payout_micros": None,
            "payout_micros": 7_750_000 if status == "won" else None,
            "nonce": "n",
            "accepted_at": at,
            "confirmed_at": None,
            "resolved_at": None,
            "reason": None,
        }
        | changes,
        Bet,
    )


def test_note_bet_when_the_confirmation_overtakes_the_acceptance_keeps_the_later_state() -> None:
    journal, tap = Journal(), _tap()
    journal.add(tap, "n")

    moved = journal.note_bet(_bet("confirmed"), 1_300_000)
    late = journal.note_bet(_bet("accepted"), 1_400_000)

    assert moved is tap
    assert late is None
    assert tap.state == "confirmed"
    assert tap.confirmed_ms == 300


def test_note_bet_when_it_is_an_earlier_runs_leaves_the_taps() -> None:
    journal = Journal()

    assert journal.note_bet(_bet("won", cursor=5, balance_micros=8)) is None
    assert journal.balance_micros == 8


def test_note_balance_when_older_news_comes_late_keeps_the_newest() -> None:
    journal = Journal()

    journal.note_balance(7, cursor=5)
    journal.note_balance(6, cursor=4)

    assert journal.balance_micros == 7


def test_rounds_when_bets_are_rejected_or_refused_do_not_count() -> None:
    journal = Journal()
    taps = [_tap(number) for number in range(4)]
    for number, tap in enumerate(taps):
        journal.add(tap, str(number))
    journal.note_bet(_bet("rejected", nonce="0"))
    journal.note_bet(_bet("won", nonce="1"))
    taps[2].refused = "cell_taken"

    assert journal.rounds() == [taps[1], taps[3]]
    assert journal.unsettled() == [taps[3]]


@pytest.mark.parametrize(
    ("per_cent", "expected"), [(50, 5.0), (95, 10.0), (90, 9.0), (1, 1.0), (100, 10.0)]
)
def test_percentile_when_asked_is_the_nearest_rank(per_cent: int, expected: float) -> None:
    assert percentile([float(n) for n in range(10, 0, -1)], per_cent) == expected
    assert percentile([], per_cent) is None


def test_plain_screen_when_a_bet_moves_prints_one_line() -> None:
    console = Console(file=io.StringIO(), width=60)
    journal, tap = Journal(), _tap()
    journal.add(tap, "n")
    with PlainScreen(console) as screen:
        screen.show(journal)
        journal.note_bet(_bet("won", rate_bps=15_501, cursor=1, balance_micros=9_500_000))
        screen.show(journal, tap)

    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert output.count("\n") == 1
    for part in ("#1", "95000-95010", "5.00", "1.5501x", "won", "7.75", "balance 9.50"):
        assert part in output


def test_live_screen_when_shown_draws_price_balance_and_bets() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    journal = Journal(price_cents=9_500_123, balance_micros=9_500_000)
    journal.add(_tap(), "n")
    with LiveScreen(console) as screen:
        screen.show(journal)
        screen.say("waiting")

    output = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("BTC 95001.23", "9.50 USDC", "95000-95010", "sending", "waiting"):
        assert part in output


def test_make_screen_when_there_is_no_terminal_is_plain() -> None:
    assert isinstance(make_screen(Console(file=io.StringIO())), PlainScreen)
    assert isinstance(make_screen(Console(file=io.StringIO(), force_terminal=True)), LiveScreen)


def test_cell_text_when_shown_names_minute_second_and_band() -> None:
    assert cell_text("1764000010_9500000_9501000") == "00:10 95000-95010"
