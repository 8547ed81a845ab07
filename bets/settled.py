"""The decision about a column as it is shown. Once it is made it never changes."""

from typing import Any, NamedTuple

from taptrading.rows import fetch


class SettlementRow(NamedTuple):
    column_start: int
    state: str
    open_cents: int | None = None
    low_cents: int | None = None
    high_cents: int | None = None
    close_cents: int | None = None
    ticks: int = 0
    max_gap_ms: int | None = None
    sources: str = ""
    ticks_sha256: str = ""
    reason: str = ""

    def json(self) -> dict[str, Any]:
        """`settlement` of the contract."""
        return {
            **self._asdict(),
            "sources": self.sources.split(",") if self.sources else [],
            "ticks_sha256": self.ticks_sha256 or None,
            "reason": self.reason or None,
        }


_DECIDED = (
    f"SELECT {', '.join(SettlementRow._fields)} FROM bets_settlement"  # noqa: S608
    " WHERE column_start = %s"
)


def decided(column_start: int) -> SettlementRow | None:
    """Raises django.db.Error."""
    rows = fetch(_DECIDED, [column_start])
    return SettlementRow(*rows[0]) if rows else None
