"""When a worker that leaves work waiting is to end."""

from taptrading.watch import LOOKS, LOOKS_AT_FIRST, Idleness


def looks(idleness: Idleness, count: int, **seen: int) -> list[bool]:
    return [
        idleness.look(**{"waiting": 1, "under_way": 0, "begun": 5} | seen) for _ in range(count)
    ]


def test_look_when_work_waits_and_none_is_begun_then_too_often_in_the_end() -> None:
    first, *rest = looks(Idleness(), LOOKS + 1)
    assert not first  # five were begun since the look before
    assert rest == [False] * (LOOKS - 1) + [True]


def test_look_when_nothing_waits_then_never() -> None:
    assert not any(looks(Idleness(), 2 * LOOKS, waiting=0))


def test_look_when_work_is_under_way_then_never() -> None:
    assert not any(looks(Idleness(), 2 * LOOKS, under_way=1))


def test_look_when_work_is_begun_in_between_then_it_counts_anew() -> None:
    idleness = Idleness()
    assert not any(looks(idleness, LOOKS))
    assert not any(looks(idleness, LOOKS, begun=6))
    assert any(looks(idleness, LOOKS, begun=6))


def test_look_when_no_task_was_ever_begun_then_more_patient_for_a_slow_start() -> None:
    idleness = Idleness()
    assert not any(looks(idleness, LOOKS_AT_FIRST - 1, begun=0))
    assert looks(idleness, 1, begun=0) == [True]
