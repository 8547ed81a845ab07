"""Leaves and seals against SHA-256 by hand: whoever verifies them has nothing of this code."""

from hashlib import sha256

import pytest

from wallet import seals
from wallet.seals import Entry

ENTRY = Entry(11, 3, 7, 5_000_000, "STAKE", "bet:10", 95_000_000, 5_000_000, 1_764_000_000_000_000)
TEXT = b"11|3|7|5000000|STAKE|bet:10|95000000|5000000|1764000000000000"


def test_leaf_when_worked_by_hand_then_the_same() -> None:
    assert seals.leaf(ENTRY) == sha256(TEXT).digest()


@pytest.mark.parametrize("part", Entry._fields)
def test_leaf_when_any_part_of_the_entry_differs_then_another(part: str) -> None:
    value = getattr(ENTRY, part)
    changed = ENTRY._replace(**{part: value + 1 if isinstance(value, int) else value + "x"})
    assert seals.leaf(changed) != seals.leaf(ENTRY)


def test_seal_when_worked_by_hand_then_the_same() -> None:
    first, second = b"\x01" * 32, b"\x02" * 32
    alone = sha256(bytes(32) + first).digest()
    assert seals.seal(seals.GENESIS, [first]) == alone
    assert seals.seal(alone, [first, second]) == sha256(alone + first + second).digest()
    assert seals.seal(alone, [second, first]) != seals.seal(alone, [first, second])
