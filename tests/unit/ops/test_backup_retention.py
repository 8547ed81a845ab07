"""Which backups stay."""

from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.backup.manifest import Manifest, Stored, decode, name_at, time_of
from ops.backup.retention import Rule, kept
from taptrading import clock

NOW = datetime(2027, 1, 2, 12, 30, tzinfo=UTC)
RULE = Rule(hours=48, days=30, months=12)


def every_hour(days: int) -> list[datetime]:
    return [NOW - timedelta(hours=hours, minutes=25) for hours in range(24 * days)]


def test_kept_when_one_was_taken_each_hour_for_two_years_then_hours_days_and_months() -> None:
    stays = sorted(kept(every_hour(730), NOW, RULE), reverse=True)
    assert len(stays) == 48 + 27 + 10
    hours, days, months = stays[:48], stays[48:75], stays[75:]
    assert all(at > NOW - timedelta(hours=48) for at in hours)
    assert {at.hour for at in days} == {23}  # the newest of its day
    assert len({at.date() for at in days}) == 27
    assert [at.month for at in months] == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]
    assert all((at + timedelta(hours=1)).day == 1 for at in months)


def test_kept_when_none_was_taken_for_long_then_the_newest_stays() -> None:
    old = [NOW - timedelta(days=2_000 + days) for days in range(3)]
    assert kept(old, NOW, Rule(hours=1, days=0, months=0)) == {old[0]}
    assert kept([], NOW, RULE) == set()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 20_000), max_size=60), st.integers(0, 500))
def test_kept_when_kept_again_later_then_no_more_of_them_and_never_none(
    ages_h: list[int], later_h: int
) -> None:
    taken = [NOW - timedelta(hours=age) for age in ages_h]
    first = kept(taken, NOW, RULE)
    later = kept(first, NOW + timedelta(hours=later_h), RULE)
    assert later <= first <= set(taken)
    # Letting go each hour leaves what letting go once would have.
    assert later == kept(taken, NOW + timedelta(hours=later_h), RULE)
    assert bool(later) == bool(taken)


def test_name_when_read_again_then_its_time_to_the_millisecond() -> None:
    name = name_at(1_764_000_000_123_456)
    assert name == "20251124T160000.123Z"
    at = time_of(name)
    assert at is not None
    assert clock.to_us(at) == 1_764_000_000_123_000
    for other in ("", "latest", "20251124T160000Z", "20251324T160000.123Z", f"{name}.part"):
        assert time_of(other) is None


def test_manifest_when_a_byte_of_it_changed_then_refused() -> None:
    stored = Stored("taptrading.sqlite3", "00", 3, "11", 2)
    manifest = Manifest("20251124T160000.123Z", 1, 0.5, {}, [stored], {"seals": 7})
    encoded = manifest.encoded()
    assert decode(encoded) == manifest
    for damaged in (encoded[:-1], encoded.replace(b"7", b"8"), b"", b"{}"):
        try:
            decode(damaged)
        except ValueError:
            continue
        raise AssertionError(damaged)
