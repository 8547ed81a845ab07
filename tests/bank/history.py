"""What clients sent and what they were told, held against what the database has in the end.

ok: it is there exactly once; failed: it is not there; unknown: it is there at most once. What
nobody sent is not there.
"""

from collections import Counter, defaultdict
from typing import Any, Final, Literal, NamedTuple

from tests.bank.house import Violation
from tests.bank.wire import Answer

Told = Literal["ok", "failed", "unknown"]
# Answers after which a client does not know.
UNKNOWN: Final = ("outcome_unknown", "internal_error")
SHOWN: Final = 20


class Deed(NamedTuple):
    """One thing that a client asked for. `key` tells it from all others of its kind."""

    kind: str
    address: str
    key: str
    micros: int
    told: Told
    id: str  # as answered


class History:
    """Deeds by kind and key, and how often each answer came."""

    def __init__(self) -> None:
        self.deeds: dict[tuple[str, str], Deed] = {}
        self.answers: Counter[str] = Counter()

    def note(
        self, kind: str, address: str, key: str, micros: int, told: Told, answer: Answer | None
    ) -> None:
        name = {"bet": "bet_id", "deposit": "deposit_id", "withdrawal": "withdrawal_id"}.get(kind)
        found = answer.body.get(name, "") if answer and name and told == "ok" else ""
        deed = Deed(kind, address, key, micros, told, str(found))
        if self.deeds.setdefault((kind, key), deed) is not deed:
            raise Violation(f"{kind} {key} is asked for as if it were new")

    def became(self, kind: str, key: str, told: Told, id: str = "") -> None:
        """The same was asked for again, and that is what is known of it since."""
        before = self.deeds[kind, key]
        if before.told != "ok":
            self.deeds[kind, key] = before._replace(told=told, id=id)

    def told(self, kind: str, answer: Answer) -> Told:
        """What an answer means, and count it."""
        self.answers[f"{kind} {answer.code or answer.status}"] += 1
        if answer.status < 300:
            return "ok"
        return "unknown" if answer.code in UNKNOWN else "failed"


class Row(NamedTuple):
    """The same as the database has it."""

    id: int
    address: str
    micros: int


_BETS: Final = (
    "SELECT b.nonce, b.id, w.address, b.stake_micros FROM bets_bet b"
    " JOIN wallet_wallet w ON w.id = b.wallet_id"
)
_DEPOSITS: Final = (
    "SELECT d.amount_micros || '', d.id, w.address, d.amount_micros FROM wallet_deposit d"
    " JOIN wallet_wallet w ON w.id = d.wallet_id"
)
_WITHDRAWALS: Final = (
    "SELECT x.nonce, x.id, w.address, x.amount_micros FROM wallet_withdrawal x"
    " JOIN wallet_wallet w ON w.id = x.wallet_id"
)
_EVENTS: Final = "SELECT event_id, id, address, amount_micros FROM wallet_custodyevent"
_CANCELLED: Final = (
    "SELECT x.id || '', x.id, w.address, x.amount_micros FROM wallet_withdrawal x"
    " JOIN wallet_wallet w ON w.id = x.wallet_id WHERE x.status = 'cancelled'"
)
# (kind, its rows, whether rows may be there that no client asked for)
_KINDS: Final = (
    ("bet", _BETS, False),
    ("deposit", _DEPOSITS, True),  # those of the custodian's own events, and each wallet's first
    ("withdrawal", _WITHDRAWALS, False),
    ("event", _EVENTS, True),  # those of the deposits, by the local custodian
    ("cancellation", _CANCELLED, False),
)


def check(connection: Any, history: History) -> list[str]:
    """What does not agree."""
    wrong: list[str] = []
    asked: dict[str, dict[str, Deed]] = defaultdict(dict)
    for deed in history.deeds.values():
        asked[deed.kind][deed.key] = deed
    for kind, question, others in _KINDS:
        rows: dict[str, list[Row]] = defaultdict(list)
        for key, *row in connection.execute(question):
            rows[key].append(Row(*row))
        wrong += _compare(kind, asked[kind], rows, others)
    return wrong + never_found(connection)


def _compare(
    kind: str, asked: dict[str, Deed], rows: dict[str, list[Row]], others: bool
) -> list[str]:
    wrong = []
    for key, deed in asked.items():
        there = rows.pop(key, [])
        fits = all((row.address, row.micros) == (deed.address, deed.micros) for row in there)
        known = not deed.id or all(str(row.id) == deed.id for row in there)
        allowed = {"ok": (1,), "failed": (0,), "unknown": (0, 1)}[deed.told]
        if len(there) not in allowed or not fits or not known:
            wrong.append(f"{deed} is there {len(there)} times: {there}")
    if rows and not others:
        wrong.append(f"{len(rows)} of kind {kind} that nobody asked for: {list(rows)[:SHOWN]}")
    return wrong


# A copy of the entries to look them up by their reference, in a million of them too; the platform's
# own index is none of the contract.
_BY_REFERENCE: Final = """
DROP TABLE IF EXISTS temp.entries;
CREATE TEMP TABLE entries AS SELECT * FROM wallet_ledgerentry;
CREATE INDEX temp.entries_reference ON entries (reference, kind);
"""

# Each: rows that must not be there. Written from the contract, not from the platform's own check.
_NEVER: Final = {
    "bets without one stake": (
        "SELECT count(*) FROM bets_bet b WHERE 1 <> (SELECT count(*) FROM entries e"
        " WHERE e.kind = 'STAKE' AND e.reference = 'bet:' || b.id"
        " AND e.amount_micros = b.stake_micros AND e.debit_wallet_id = b.wallet_id)"
    ),
    "bets not paid once, what they should be": (
        "SELECT count(*) FROM bets_bet b LEFT JOIN entries e"
        " ON e.kind IN ('PAYOUT', 'REFUND') AND e.reference = 'bet:' || b.id"
        " LEFT JOIN bets_settlement s ON s.column_start = b.column_start"
        " WHERE NOT coalesce(CASE b.status"
        " WHEN 'lost' THEN e.id IS NULL AND s.state = 'settled'"
        " AND NOT (s.low_cents < b.high_cents AND s.high_cents >= b.low_cents)"
        " WHEN 'won' THEN e.kind = 'PAYOUT'"
        " AND e.amount_micros = b.stake_micros * b.rate_bps / 10000"
        " AND e.credit_wallet_id = b.wallet_id AND s.state = 'settled'"
        " AND s.low_cents < b.high_cents AND s.high_cents >= b.low_cents"
        " WHEN 'void' THEN e.kind = 'REFUND' AND e.amount_micros = b.stake_micros"
        " AND e.credit_wallet_id = b.wallet_id AND s.state = 'void'"
        " WHEN 'rejected' THEN e.kind = 'REFUND' AND e.amount_micros = b.stake_micros"
        " AND e.credit_wallet_id = b.wallet_id END, 0)"
    ),
    "bets paid twice": (
        "SELECT count(*) FROM (SELECT 1 FROM wallet_ledgerentry"
        " WHERE kind IN ('PAYOUT', 'REFUND') GROUP BY reference HAVING count(*) > 1)"
    ),
    "deposits not credited once": (
        "SELECT count(*) FROM wallet_deposit d WHERE d.status <> 'completed'"
        " OR 1 <> (SELECT count(*) FROM entries e WHERE e.kind = 'DEPOSIT'"
        " AND e.reference = 'deposit:' || d.id AND e.amount_micros = d.amount_micros)"
    ),
    "withdrawals not held once and ended once": (
        "SELECT count(*) FROM wallet_withdrawal x WHERE x.status NOT IN ('completed', 'cancelled')"
        " OR 1 <> (SELECT count(*) FROM entries e WHERE e.kind = 'HOLD'"
        " AND e.reference = 'withdrawal:' || x.id) OR 1 <> (SELECT count(*)"
        " FROM entries e WHERE e.kind IN ('RELEASE', 'WITHDRAWAL')"
        " AND e.reference = 'withdrawal:' || x.id"
        " AND (e.kind = 'RELEASE') = (x.status = 'cancelled'))"
    ),
    "wallets whose balance is not that of their entries": (
        "SELECT count(*) FROM wallet_wallet w WHERE w.balance_micros <>"
        " (SELECT coalesce(sum(amount_micros), 0) FROM wallet_ledgerentry"
        " WHERE credit_wallet_id = w.id) - (SELECT coalesce(sum(amount_micros), 0)"
        " FROM wallet_ledgerentry WHERE debit_wallet_id = w.id)"
    ),
    "sum of all wallets": "SELECT sum(balance_micros) FROM wallet_wallet",
}


def never_found(connection: Any) -> list[str]:
    """What should never be there, and is."""
    connection.executescript(_BY_REFERENCE)
    found = [(what, connection.execute(sql).fetchone()[0]) for what, sql in _NEVER.items()]
    return [f"{what}: {count}" for what, count in found if count]
