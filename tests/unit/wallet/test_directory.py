"""What the memory of wallets counts: every miss, and hits by the dozen."""

from wallet.directory import HITS_COUNTED, LOOKUPS, Directory, WalletFacts


def counted(found: str) -> float:
    return float(LOOKUPS.labels(found)._value.get())


def test_find_when_asked_often_then_hits_are_counted_many_at_a_time_and_misses_at_once() -> None:
    directory = Directory()
    facts = WalletFacts(1, "0x1", False, {})
    directory.remember(facts, directory.generation)
    hits, misses = counted("yes"), counted("no")
    assert [directory.find("0x1") for _ in range(HITS_COUNTED - 1)] == [facts] * (HITS_COUNTED - 1)
    assert directory.find("0x2") is None
    assert (counted("yes") - hits, counted("no") - misses) == (0, 1)
    assert directory.find("0x1") is facts
    assert counted("yes") - hits == HITS_COUNTED
