"""Ids worked by hand: 41 bits of milliseconds, 16 of sequence, 6 of node."""

import pytest

from taptrading.money import MAX_INT
from wallet.ids import IdMint, first_id_at

EPOCH_US = 1_735_689_600_000_000  # 2025-01-01
MS = 1_000


def test_next_when_first_of_its_millisecond_then_time_and_node() -> None:
    assert IdMint(5).next(EPOCH_US + 3 * MS) == (3 << 22) | 5
    assert IdMint(63).next(EPOCH_US + 3 * MS + 999) == (3 << 22) | 63


def test_next_when_several_share_a_millisecond_then_the_sequence_counts() -> None:
    mint = IdMint(5)
    ids = [mint.next(EPOCH_US + 3 * MS) for _ in range(3)]
    assert ids == [(3 << 22) | (number << 6) | 5 for number in range(3)]


@pytest.mark.parametrize("back_us", [1, 1_000, 86_400_000_000])
def test_next_when_the_clock_steps_back_then_the_sequence_goes_on(back_us: int) -> None:
    mint, now_us = IdMint(), EPOCH_US + 10**15
    first = mint.next(now_us)
    assert mint.next(now_us - back_us) == first + (1 << 6)


def test_next_when_the_sequence_is_full_then_it_carries_into_the_next_millisecond() -> None:
    mint = IdMint(5, last=(3 << 22) | (0xFFFF << 6) | 5)
    assert mint.next(EPOCH_US + 3 * MS) == (4 << 22) | 5
    assert mint.next(EPOCH_US + 4 * MS) == (4 << 22) | (1 << 6) | 5


def test_next_when_the_last_one_was_of_another_node_then_above_it_with_its_own() -> None:
    mint = IdMint(5, last=(3 << 22) | 9)
    assert mint.next(EPOCH_US) == (3 << 22) | (1 << 6) | 5


@pytest.mark.parametrize("node", [-1, 64])
def test_mint_when_the_node_has_no_room_then_refused(node: int) -> None:
    with pytest.raises(ValueError, match=f"node {node} is not below 64"):
        IdMint(node)


def test_first_id_when_an_instant_is_given_then_below_all_minted_from_it_on() -> None:
    at_us = EPOCH_US + 7 * MS
    assert first_id_at(at_us) == IdMint().next(at_us) == 7 << 22
    assert first_id_at(at_us) > IdMint(63).next(at_us - 1)
    assert first_id_at(0) == 0
    assert first_id_at(10**30) == MAX_INT
