"""What a check found: how many in all, and the first few in full."""

from dataclasses import dataclass, field
from typing import Any, Final

EXAMPLES: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: `id` names the row, `expected` and `found` are what differs."""

    check: str
    what: str
    id: int | str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.check}: {self.what} {self.id}: expected {self.expected}, found {self.found}"


@dataclass(slots=True)
class Report:
    """Findings by check, bounded: `totals` counts all of them, `examples` keeps some."""

    totals: dict[str, int] = field(default_factory=dict)
    examples: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding, count: int = 1) -> None:
        """`count`: how many there are of which this is one example."""
        known = self.totals.get(finding.check, 0)
        self.totals[finding.check] = known + count
        if sum(other.check == finding.check for other in self.examples) < EXAMPLES:
            self.examples.append(finding)

    def merge(self, other: "Report") -> None:
        for finding in other.examples:
            self.add(finding, 0)
        for check, total in other.totals.items():
            self.totals[check] = self.totals.get(check, 0) + total

    def only(self, checks: frozenset[str]) -> "Report":
        """The same without the findings of other checks."""
        return Report(
            {check: total for check, total in self.totals.items() if check in checks},
            [finding for finding in self.examples if finding.check in checks],
        )
