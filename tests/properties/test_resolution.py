"""Resolution against an oracle that intersects every straight piece of the path with the band,
in exact fractions, and against what must hold of any column.
"""

from fractions import Fraction
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from bets.resolution import Vertex, deadline_of, outcome, resolve_column

START = 1_764_000_010
START_MS, END_MS = START * 1_000, START * 1_000 + 5_000
BAND = 1_000


@st.composite
def recordings(draw):
    """Ticks on some 100 ms marks around a column, each recorded after the one before it."""
    marks = set(range(-20, 71, draw(st.integers(1, 20))))
    marks |= draw(st.sets(st.integers(-30, 90), max_size=20))
    cut = draw(st.integers(-35, 150))  # a hole, perhaps; often beyond the column
    marks -= set(range(cut, cut + draw(st.integers(0, 25))))
    late_from = draw(st.integers(0, 300))  # mostly never
    late_us = draw(st.sampled_from([300_000, 3_000_000, 59_000_000, 70_000_000]))
    price, recorded_us = draw(st.integers(9 * BAND, 11 * BAND)), 0
    ticks = []
    for seq, mark in enumerate(sorted(marks)):
        price += draw(st.integers(-700, 700) | st.just(-price % BAND))
        at_ms = START_MS + mark * 100
        recorded_us = max(recorded_us, at_ms * 1_000 + (late_us if mark >= late_from else 0))
        ticks.append(Vertex(seq, at_ms, price, recorded_us, "binance"))
    return ticks


def path(*prices):
    """A tick a second from the column's start on."""
    times_ms = [START_MS + 1_000 * n for n in range(len(prices))]
    return [
        Vertex(seq, at_ms, price, at_ms * 1_000, "binance")
        for seq, (at_ms, price) in enumerate(zip(times_ms, prices, strict=True))
    ]


# It just reaches two edges, which chance does not find each time.
BETWEEN_EDGES = path(10_500, 10_000, 10_300, 10_900, 11_000, 10_700)

bands = st.integers(6, 14).map(lambda n: (n * BAND, n * BAND + BAND))


def piece_touches(first, second, low, high):
    """Whether first + (second - first) * t lies in [low, high) for some t in [0, 1]."""
    slope = second - first
    if slope == 0:
        return low <= first < high
    enters, leaves = sorted((Fraction(low - first, slope), Fraction(high - first, slope)))
    begin, end = max(enters, Fraction(0)), min(leaves, Fraction(1))
    if begin < end:
        return True
    return begin == end and low <= first + slope * begin < high


def oracle(ticks, low, high, now_us):
    """The rule as the design words it, with nothing borrowed."""
    in_time = [t for t in ticks if t.recorded_at_us <= min(now_us, deadline_of(START))]
    start = max((t.at_ms for t in in_time if t.at_ms <= START_MS), default=None)
    end = min((t.at_ms for t in in_time if t.at_ms >= END_MS), default=None)
    if start is None or end is None:
        return "VOID"
    path = [t for t in in_time if start <= t.at_ms <= end]
    if any(b.at_ms - a.at_ms > 2_000 for a, b in pairwise(path)):
        return "VOID"
    pieces = pairwise(t.price_cents for t in path)
    return "HIT" if any(piece_touches(a, b, low, high) for a, b in pieces) else "MISS"


@given(recordings(), bands)
@example(BETWEEN_EDGES, (9_000, 10_000))
@example(BETWEEN_EDGES, (11_000, 12_000))
def test_outcome_is_that_of_the_exact_intersection(ticks, band):
    now_us = deadline_of(START) + 1
    decision = resolve_column(START, ticks, now_us)

    assert decision is not None
    assert outcome(decision, *band) == oracle(ticks, *band, now_us)


@given(recordings(), st.data())
def test_decision_is_the_same_whenever_it_is_taken(ticks, data):
    final = resolve_column(START, ticks, deadline_of(START) * 2)
    reached = [t.recorded_at_us for t in ticks if t.at_ms >= END_MS]
    due_us = min([*reached, deadline_of(START) + 1])
    asked_us = data.draw(st.integers(END_MS * 1_000 - 10**6, deadline_of(START) + 10**7))

    early = resolve_column(START, ticks, asked_us)

    assert early == (final if asked_us >= due_us else None)


@given(recordings())
def test_a_settled_column_touches_one_run_of_bands_and_every_vertex_lies_in_it(ticks):
    decision = resolve_column(START, ticks, deadline_of(START) * 2)
    assert decision is not None
    if decision.state == "void":
        assert decision.reason in ("gap", "not_recorded", "no_ticks")
        assert outcome(decision, 0, BAND) == "VOID"
        return

    lattice = range(-40 * BAND, 60 * BAND, BAND)
    hits = [low for low in lattice if outcome(decision, low, low + BAND) == "HIT"]
    inside = [t.price_cents for t in ticks if START_MS <= t.at_ms <= END_MS]

    assert hits == list(range(hits[0], hits[-1] + BAND, BAND))
    assert all(price - price % BAND in hits for price in inside)
    assert decision.ticks == len(decision.evidence.split("\n"))
    assert decision.max_gap_ms is not None
    assert decision.max_gap_ms <= 2_000
