"""A defect as text: what is edited, and which tests must notice."""

from dataclasses import dataclass
from pathlib import Path


class NotOnce(ValueError):
    """The old text does not occur exactly once: the file has changed since the edit was written."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One place of one file, paths below the repository's root."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """Raises NotOnce."""
        found = text.count(self.old)
        if found != 1:
            raise NotOnce(f"{self.file} holds {found} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)

    def apply(self, root: Path) -> None:
        """Raises NotOnce."""
        path = root / self.file
        path.write_text(self.applied(path.read_text()))


@dataclass(frozen=True, slots=True)
class Defect:
    """`breaks` completes "this breaks …"; every test of `caught_by` must fail because of it."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]
