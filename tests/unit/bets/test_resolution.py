"""Worked examples of columns: paths and their edges, gaps, recordings that came late or never."""

import hashlib

import pytest

from bets.resolution import (
    ColumnDecision,
    Vertex,
    deadline_of,
    deflate_evidence,
    inflate_evidence,
    outcome,
    resolve_column,
)

START = 1_764_000_010
START_MS = START * 1_000
END_MS = START_MS + 5_000
LATER_US = (START + 3_600) * 1_000_000


def vertex(offset_ms, price_cents, recorded_ms=None, sources="binance"):
    """A tick `offset_ms` after the column's start, recorded 1 ms later unless said otherwise."""
    at_ms = START_MS + offset_ms
    recorded_us = (at_ms + 1 if recorded_ms is None else START_MS + recorded_ms) * 1_000
    return Vertex(at_ms // 100, at_ms, price_cents, recorded_us, sources)


def path(*prices, step_ms=1_000):
    """Ticks from the column's start on, `step_ms` apart: six of them reach the end."""
    return [vertex(n * step_ms, price) for n, price in enumerate(prices)]


def decide(vertices, now_us=LATER_US) -> ColumnDecision:
    decision = resolve_column(START, vertices, now_us)
    assert decision is not None
    return decision


def test_resolve_settles_with_the_path_when_every_second_was_recorded():
    decision = decide(path(100_500, 100_900, 101_200, 99_700, 100_000, 100_100))

    assert (decision.state, decision.reason) == ("settled", "")
    assert decision.open_cents == 100_500
    assert decision.low_cents == 99_700
    assert decision.high_cents == 101_200
    assert decision.close_cents == 100_100
    assert (decision.ticks, decision.max_gap_ms) == (6, 1_000)


@pytest.mark.parametrize(
    ("low_cents", "high_cents", "expected"),
    [
        (100_000, 101_000, "HIT"),
        (101_000, 102_000, "HIT"),  # the path's high is exactly the low edge: inside
        (99_000, 100_000, "MISS"),  # the path's low is exactly the high edge: outside
        (102_000, 103_000, "MISS"),
        (98_000, 99_000, "MISS"),
    ],
)
def test_outcome_is_half_open_when_the_path_ends_on_an_edge(low_cents, high_cents, expected):
    decision = decide(path(100_400, 101_000, 100_000, 100_400, 100_400, 100_400))

    assert outcome(decision, low_cents, high_cents) == expected


def test_outcome_is_hit_when_the_path_jumps_across_the_band():
    decision = decide(path(90_000, 90_000, 110_000, 110_000, 110_000, 110_000))

    assert outcome(decision, 100_000, 101_000) == "HIT"


def test_resolve_reads_the_tick_at_start_and_at_end_but_none_beyond():
    ticks = [vertex(-100, 1), *path(500, 500, 500, 500, 500, 500), vertex(5_100, 9_999)]

    decision = decide(ticks)

    assert (decision.low_cents, decision.high_cents, decision.ticks) == (500, 500, 6)


def test_resolve_takes_neighbours_when_the_marks_at_both_ends_are_missing():
    ticks = [
        vertex(-600, 7),
        vertex(-300, 490),
        *(vertex(ms, 500) for ms in (900, 1_900, 2_900, 3_900)),
        vertex(5_200, 520),
        vertex(5_300, 9_999),
    ]

    decision = decide(ticks)

    assert (decision.open_cents, decision.close_cents) == (490, 520)
    assert (decision.low_cents, decision.high_cents) == (490, 520)
    assert decision.max_gap_ms == 1_300


def test_resolve_voids_when_a_gap_is_longer_than_two_seconds():
    ticks = [vertex(0, 500), vertex(1_000, 500), vertex(3_001, 500), vertex(5_000, 500)]

    decision = decide(ticks)

    assert (decision.state, decision.reason, decision.max_gap_ms) == ("void", "gap", 2_001)
    assert decision.low_cents is None
    assert outcome(decision, 0, 1_000) == "VOID"


def test_resolve_settles_when_a_gap_is_exactly_two_seconds():
    ticks = [vertex(0, 500), vertex(2_000, 500), vertex(4_000, 500), vertex(5_000, 500)]

    assert decide(ticks).state == "settled"


def test_resolve_voids_when_the_gap_lies_across_an_edge():
    before = [vertex(-1_500, 500), *(vertex(ms, 500) for ms in (600, 2_000, 4_000, 5_000))]
    after = [*(vertex(ms, 500) for ms in (0, 2_000, 4_000)), vertex(6_100, 500)]

    assert decide(before).reason == "gap"
    assert decide(after).reason == "gap"


def test_resolve_voids_when_no_tick_reaches_back_to_the_start():
    decision = decide([vertex(ms, 500) for ms in (100, 1_000, 2_000, 3_000, 4_000, 5_000)])

    assert (decision.state, decision.reason) == ("void", "gap")


def test_resolve_waits_when_the_end_is_not_recorded_yet():
    ticks = path(500, 500, 500, 500, 500)

    assert resolve_column(START, ticks, END_MS * 1_000) is None
    assert resolve_column(START, ticks, deadline_of(START)) is None
    assert resolve_column(START, [], deadline_of(START)) is None


def test_resolve_decides_at_once_when_the_last_vertex_is_recorded():
    ticks = path(500, 500, 500, 500, 500, 500)
    recorded_us = (END_MS + 1) * 1_000

    assert resolve_column(START, ticks, recorded_us - 1) is None
    assert decide(ticks, recorded_us).state == "settled"


def test_resolve_voids_when_nothing_reached_the_end_in_sixty_seconds():
    decision = decide(path(500, 500, 500, 500, 500), deadline_of(START) + 1)

    assert (decision.state, decision.reason, decision.ticks) == ("void", "not_recorded", 5)


def test_resolve_voids_when_there_was_nothing_at_all():
    decision = decide([], deadline_of(START) + 1)

    assert (decision.state, decision.reason) == ("void", "no_ticks")
    assert (decision.ticks, decision.max_gap_ms, decision.sources) == (0, None, "")
    assert decision.ticks_sha256 == hashlib.sha256(b"").hexdigest()


def test_resolve_says_that_there_were_no_ticks_when_the_last_one_lies_before_the_start():
    died_before = decide([vertex(-100, 500)], deadline_of(START) + 1)
    died_at_start = decide([vertex(0, 500)], deadline_of(START) + 1)

    assert (died_before.reason, died_before.ticks) == ("no_ticks", 1)
    assert (died_at_start.reason, died_at_start.ticks) == ("not_recorded", 1)


@pytest.mark.parametrize(("recorded_ms", "state"), [(65_000, "settled"), (65_001, "void")])
def test_resolve_ignores_recordings_when_they_came_after_the_patience(recorded_ms, state):
    ticks = [*path(500, 500, 500, 500, 500), vertex(5_000, 500, recorded_ms=recorded_ms)]

    assert decide(ticks).state == state


def test_resolve_ignores_what_was_recorded_after_the_decision():
    ticks = path(500, 500, 500, 500, 500, 500)
    late = vertex(2_500, 9_999, recorded_ms=6_000)
    decided_us = (START_MS + 5_500) * 1_000

    assert decide([*ticks, late], decided_us) == decide(ticks, decided_us)


def test_resolve_gives_the_same_decision_when_asked_later_or_in_another_order():
    ticks = path(500, 510, 505, 480, 500, 500, step_ms=1_000)

    first = decide(ticks, (END_MS + 1) * 1_000)

    assert decide(list(reversed(ticks)), LATER_US) == first


def test_evidence_is_one_line_a_vertex_and_its_hash_is_of_that_text():
    decision = decide([vertex(0, 500), vertex(2_000, 501), vertex(4_000, 502), vertex(5_000, 503)])

    assert decision.evidence == (
        "1764000010000 500\n1764000012000 501\n1764000014000 502\n1764000015000 503"
    )
    assert decision.ticks_sha256 == hashlib.sha256(decision.evidence.encode()).hexdigest()
    assert inflate_evidence(deflate_evidence(decision.evidence)) == decision.evidence


def test_sources_are_all_that_had_a_part_when_they_came_and_went():
    ticks = path(500, 500, 500, 500, 500)
    ticks += [vertex(4_500, 500, sources="kraken,coinbase"), vertex(5_000, 500)]

    assert decide(ticks).sources == "binance,coinbase,kraken"
