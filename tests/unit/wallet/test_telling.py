"""What waits to be told: events together and numbered, notices after them."""

import pytest

from wallet import events, telling
from wallet.events import Batch, Event, Notice
from wallet.telling import Untold

EPOCH = 7


def event(cursor: int) -> Event:
    return Event(1, "wallet.balance", cursor, 10, {})


def cursors(notice: Notice) -> tuple[int, list[int]]:
    """A message's number, and the cursors of its events."""
    assert notice.kind == events.KIND
    batch: Batch = events.decode(notice.payload)
    assert batch.epoch == EPOCH
    return batch.number, [events.decode_event(raw).cursor for raw in batch.news]


def test_untold_when_batches_follow_each_other_then_one_message_in_their_order() -> None:
    untold = Untold(EPOCH)
    untold.add([event(1), event(2)])
    untold.add([event(3)])
    assert len(untold) == 1
    assert cursors(untold.popleft()) == (1, [1, 2, 3])
    assert not untold


def test_untold_when_one_was_taken_then_the_next_has_the_next_number() -> None:
    untold = Untold(EPOCH)
    untold.add([event(1)])
    untold.popleft()
    untold.add([event(2)])
    assert cursors(untold.popleft()) == (2, [2])


def test_untold_when_more_than_a_message_holds_then_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "EVENTS_AT_ONCE", 2)
    untold = Untold(EPOCH)
    untold.add([event(n) for n in range(3)])
    assert len(untold) == 2
    assert [cursors(untold.popleft()) for _ in range(2)] == [(1, [0, 1]), (2, [2])]


def test_untold_when_there_are_notices_then_after_all_events() -> None:
    untold = Untold(EPOCH)
    untold.notify(Notice("other", b"1"))
    untold.add([event(1)])
    untold.notify(Notice("other", b"2"))
    assert cursors(untold.popleft()) == (1, [1])
    assert [untold.popleft().payload for _ in range(2)] == [b"1", b"2"]


def test_untold_when_the_newest_says_all_then_those_of_its_kind_before_it_are_gone() -> None:
    untold = Untold(EPOCH)
    untold.notify(Notice("exposure", b"1", says_all=True))
    untold.notify(Notice("other", b"2"))
    untold.notify(Notice("exposure", b"3", says_all=True))
    assert [untold.popleft().payload for _ in range(2)] == [b"2", b"3"]


def test_untold_when_nobody_takes_events_then_the_oldest_are_lost_and_the_number_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "EVENTS_MAX", 2)
    untold = Untold(EPOCH)
    untold.add([event(1)])
    assert cursors(untold.popleft()) == (1, [1])
    untold.add([event(n) for n in range(2, 6)])
    assert cursors(untold.popleft()) == (3, [4, 5])


def test_untold_when_nobody_takes_notices_then_the_oldest_are_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "NOTICES_MAX", 1)
    untold = Untold(EPOCH)
    untold.notify(Notice("other", b"1"))
    untold.notify(Notice("other", b"2"))
    assert untold.popleft().payload == b"2"
    assert not untold


def test_beginning_is_number_nought_and_holds_nothing() -> None:
    assert cursors(Untold(EPOCH).beginning()) == (0, [])
