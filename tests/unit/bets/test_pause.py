"""How settlement leaves the writer to the traders between its batches."""

import pytest

from bets.tasks import PAUSE_AT_MOST, SPREAD_S, batch_of, pause_s


@pytest.mark.parametrize(
    ("took_s", "batches", "pause"),
    [
        (0.01, 1, 0.02),  # a small column: no more than a few times its own work
        (0.01, 60, 0.02),
        (0.01, 200, 0.005),  # spread over the time there is
        (0.01, 300, 0.0),
        (0.01, 4_000, 0.0),  # a huge one: as fast as it goes
        (0.01, 0, 0.02),
    ],
)
def test_pause_then_the_column_is_paid_in_time(took_s: float, batches: int, pause: float) -> None:
    assert pause_s(took_s, batches) == pytest.approx(pause)
    if took_s * batches <= SPREAD_S:
        assert (took_s + pause_s(took_s, batches)) * batches <= SPREAD_S + 1e-9
    assert pause_s(took_s, batches) <= PAUSE_AT_MOST * took_s


@pytest.mark.parametrize(
    ("bets", "at_once"),
    [(0, 250), (1, 250), (15_000, 250), (40_000, 400), (100_000, 1_000), (10**7, 1_000)],
)
def test_batch_then_large_columns_are_paid_in_larger_ones(bets: int, at_once: int) -> None:
    assert batch_of(bets) == at_once
