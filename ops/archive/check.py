"""Does a segment's file, by itself, add up, and is it what its record says?

Seals are hashed anew from the entries, chains of balances followed, outcomes compared with the
decisions, and payments with the bets: as the integrity check does it in the database.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from django.db import connection as live
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper

from ops.archive import content
from ops.archive.content import Content
from ops.integrity.checkpoint import balances_at
from ops.integrity.checks import Questions
from ops.integrity.findings import Finding, Report
from ops.integrity.stream import Bounds, Stretch, read_stretch
from wallet.models import Checkpoint, Segment

_POTENTIAL: Final = "b.stake_micros * b.rate_bps / 10000"
_DUE: Final = (
    f"CASE b.status WHEN 'won' THEN {_POTENTIAL} WHEN 'lost' THEN NULL ELSE b.stake_micros END"
)
# The entry that ended a bet is always with it; its stake may be in the segment before.
_WRONG_ENDINGS: Final = (
    "WITH ended AS MATERIALIZED (SELECT CAST(substr(reference, 5) AS INTEGER) AS bet_id, kind,"  # noqa: S608
    " amount_micros, credit_wallet_id FROM wallet_ledgerentry WHERE kind IN ('PAYOUT', 'REFUND'))"
    " SELECT 'bets_have_entries' AS claim, 'end of ' || b.status || ' bet', b.id,"
    f" CAST({_DUE} AS TEXT), CAST(e.amount_micros AS TEXT)"
    " FROM bets_bet b LEFT JOIN ended e ON e.bet_id = b.id"
    f" WHERE e.amount_micros IS DISTINCT FROM {_DUE}"
    " OR e.kind <> CASE b.status WHEN 'won' THEN 'PAYOUT' ELSE 'REFUND' END"
    " OR e.credit_wallet_id <> b.wallet_id"
)
_SHARES: Final = (
    "SELECT wallet_id, sum(entries), sum(bets) FROM"
    " (SELECT debit_wallet_id AS wallet_id, count(*) AS entries, 0 AS bets"
    " FROM wallet_ledgerentry GROUP BY 1"
    " UNION ALL SELECT credit_wallet_id, count(*), 0 FROM wallet_ledgerentry GROUP BY 1"
    " UNION ALL SELECT wallet_id, 0, count(*) FROM bets_bet GROUP BY 1) GROUP BY wallet_id"
)
NOT_RECORDED: Final = "segment_matches_record"


class Share(NamedTuple):
    """What a wallet has of a segment."""

    wallet_id: int
    balance_micros: int
    entries: int
    bets: int


class Checked(NamedTuple):
    report: Report
    shares: list[Share]


def check(path: Path, segment: Segment) -> Checked:
    """Raises sqlite3.Error or django.db.Error if the file cannot be read."""
    report = Report()
    _compare(content.content_of(path), segment, report)
    opening = balances_at(live, segment.pk - 1)
    with _opened(path) as file:
        stretch = read_stretch(file, Bounds(segment.first_seal_id - 1, segment.last_seal_id))
        report.merge(stretch.report)
        questions = Questions(file)
        questions.outcomes()
        questions.ask(_WRONG_ENDINGS)
        report.merge(questions.report)
        _compare_ends(stretch, file, opening, segment, report)
        shares = _shares(stretch, file, opening)
    _compare_checkpoints(shares, segment, report)
    return Checked(report, shares)


@contextmanager
def _opened(path: Path) -> Iterator[BaseDatabaseWrapper]:
    settings = {
        **live.settings_dict,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"file:{path}?mode=ro&immutable=1",
        "OPTIONS": {},
    }
    file = DatabaseWrapper(settings, alias="segment")
    try:
        yield file
    finally:
        file.close()


def _compare(found: Content, segment: Segment, report: Report) -> None:
    for name, value in found._asdict().items():
        recorded = getattr(segment, name)
        if recorded != value:
            report.add(Finding(NOT_RECORDED, name, segment.name, recorded, value))


def _compare_ends(
    stretch: Stretch,
    file: BaseDatabaseWrapper,
    opening: dict[int, int],
    segment: Segment,
    report: Report,
) -> None:
    """The chain of seals begins and ends as recorded, and each wallet's balances go on from the
    checkpoint before."""
    with file.cursor() as cursor:
        cursor.execute(
            "SELECT id, previous, seal FROM wallet_seal WHERE id IN (%s, %s)",
            [segment.first_seal_id, segment.last_seal_id],
        )
        ends = {row[0]: row[1:] for row in cursor.fetchall()}
    previous = bytes(ends.get(segment.first_seal_id, (b"", b""))[0]).hex()
    seal = bytes(ends.get(segment.last_seal_id, (b"", b""))[1]).hex()
    for what, recorded, found in (
        ("seal before", bytes(segment.previous_seal).hex(), previous),
        ("last seal", bytes(segment.seal).hex(), seal),
    ):
        if recorded != found:
            report.add(Finding(NOT_RECORDED, what, segment.name, recorded, found))
    for wallet_id, (entry_id, before) in stretch.first.items():
        if before != opening.get(wallet_id, 0):
            what = f"balance of wallet {wallet_id} before entry"
            report.add(Finding("chain", what, entry_id, opening.get(wallet_id, 0), before))


def _shares(stretch: Stretch, file: BaseDatabaseWrapper, opening: dict[int, int]) -> list[Share]:
    with file.cursor() as cursor:
        cursor.execute(_SHARES)
        rows: list[Any] = cursor.fetchall()
    return [
        Share(wallet_id, stretch.last.get(wallet_id, opening.get(wallet_id, 0)), entries, bets)
        for wallet_id, entries, bets in rows
    ]


def _compare_checkpoints(shares: list[Share], segment: Segment, report: Report) -> None:
    """With what was recorded when the segment was verified, if it has been."""
    if segment.state not in (Segment.State.VERIFIED, Segment.State.PRUNED):
        return
    fields = ("wallet_id", "balance_micros", "entries", "bets")
    recorded = set(Checkpoint.objects.filter(segment=segment).values_list(*fields))
    for share in shares:
        if tuple(share) not in recorded:
            report.add(Finding(NOT_RECORDED, "share of wallet", share.wallet_id, "none", share))
    if len(recorded) != len(shares):
        report.add(Finding(NOT_RECORDED, "shares", segment.name, len(recorded), len(shares)))
