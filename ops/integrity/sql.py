"""The questions that find what is wrong, in SQL.

Each hands back rows of (claim, what, id, expected, found), none on a clean database. Braces left
in a text are for `checks.py` to fill in.
"""

from typing import Final

from ops.integrity.findings import EXAMPLES
from wallet.ids import CUSTODY
from wallet.models import LedgerEntry

# As in the constraint `ledger_once`, word for word, so that its index answers.
ONCE: Final = (
    "CASE WHEN kind = 'REFUND' THEN 'PAYOUT' WHEN kind = 'RELEASE' THEN 'WITHDRAWAL' ELSE kind END"
)
_POTENTIAL: Final = "b.stake_micros * b.rate_bps / 10000"

SUM: Final = (
    "SELECT 'sum_is_zero' AS claim, 'sum of', 'all wallets', 0, sum(balance_micros)"
    " FROM wallet_wallet HAVING sum(balance_micros) <> 0"
)
NEGATIVE: Final = (
    "SELECT 'no_negative_balance' AS claim, 'balance of ' || kind || ' wallet', id, '>= 0',"
    " balance_micros FROM wallet_wallet WHERE kind <> 'custody' AND balance_micros < 0"
)
# A kind at a time, so that the index answers alone.
TWICE: Final = " UNION ALL ".join(
    f"SELECT 'one_outcome' AS claim, '{kind} of', reference, 1, count(*) FROM wallet_ledgerentry"  # noqa: S608
    f" WHERE {ONCE} = '{kind}' GROUP BY reference HAVING count(*) > 1"
    for kind in LedgerEntry.Kind.values
)
# What is wrong with an entry of a bet, if anything: its bet, or that the bet needs another one.
_STRAY: Final = "(b.id IS NULL OR e.reference <> 'bet:' || b.id)"
_FITS: Final = (
    "CASE WHEN e.kind = 'STAKE' THEN e.debit_wallet_id = b.wallet_id"
    " AND e.credit_wallet_id = b.house_id AND e.amount_micros = b.stake_micros"
    " WHEN e.debit_wallet_id <> b.house_id OR e.credit_wallet_id <> b.wallet_id THEN 1 = 0"
    f" WHEN e.kind = 'PAYOUT' THEN b.status = 'won' AND e.amount_micros = {_POTENTIAL}"
    " WHEN e.kind = 'REFUND' THEN b.status IN ('rejected', 'void')"
    " AND e.amount_micros = b.stake_micros ELSE 1 = 0 END"
)
_NEEDED: Final = (
    "CASE WHEN e.kind = 'STAKE' OR b.status IN ('rejected', 'void') THEN b.stake_micros"
    f" WHEN b.status = 'won' THEN {_POTENTIAL} END"
)
WRONG_ENTRIES: Final = (
    "WITH wrong AS MATERIALIZED (SELECT e.id, e.kind, e.reference, e.amount_micros, b.status,"  # noqa: S608
    f" {_STRAY} AS stray, {_NEEDED} AS needed"
    " FROM wallet_ledgerentry e LEFT JOIN bets_bet b ON b.id = {bet_id}"
    f" WHERE (NOT {_FITS} OR {_STRAY})"
    " AND (e.kind IN ('STAKE', 'PAYOUT', 'REFUND') OR e.reference LIKE 'bet:%'))"
    " SELECT 'entries_have_bets' AS claim, 'bet of ' || kind || ' ' || reference || ', entry', id,"
    " 'one', 'none' FROM wrong WHERE stray UNION ALL"
    " SELECT 'bets_have_entries', kind || ' of ' || status || ' bet, entry', id,"
    " CAST(needed AS TEXT), CAST(amount_micros AS TEXT) FROM wrong WHERE NOT stray"
)
BET_COUNTS: Final = (
    "SELECT count(*), sum(CASE WHEN status IN ('won', 'rejected', 'void') THEN 1 ELSE 0 END)"
    " FROM bets_bet"
)
ENTRY_COUNT: Final = f"SELECT count(*) FROM wallet_ledgerentry WHERE {ONCE} = %s"  # noqa: S608
NO_ENTRY: Final = (
    "SELECT 'bets_have_entries' AS claim, '{kind} of ' || b.status || ' bet', b.id, 'one', 'none'"  # noqa: S608
    " FROM bets_bet b WHERE {which} AND NOT EXISTS (SELECT 1 FROM wallet_ledgerentry"
    f" WHERE {ONCE} = '{{kind}}' AND reference = 'bet:' || b.id)"
)
_PAID: Final = (
    f"CASE b.status WHEN 'won' THEN {_POTENTIAL} WHEN 'lost' THEN 0 WHEN 'void' THEN b.stake_micros"
    " END"
)
# The rule of `resolution.touches`.
_DUE: Final = (
    "CASE WHEN b.status NOT IN ('won', 'lost', 'void') THEN b.status"
    " WHEN s.column_start IS NULL THEN 'confirmed' WHEN s.state = 'void' THEN 'void'"
    " WHEN s.low_cents < b.high_cents AND s.high_cents >= b.low_cents THEN 'won' ELSE 'lost' END"
)
_UNDERPRICED: Final = (
    "(b.status IN ('confirmed', 'won', 'lost', 'void')"
    " AND (b.rate_bps IS NULL OR b.rate_bps < b.min_rate_bps))"
)
# What the indexes of open bets and of cells go by.
_TAKEN: Final = "CASE WHEN b.status <> 'rejected' THEN b.low_cents END"
_ENDED_WRONGLY: Final = "((b.resolved_at IS NOT NULL) <> (b.status IN ('won', 'lost', 'void')))"
WRONG_BETS: Final = (
    f"WITH wrong AS MATERIALIZED (SELECT b.*, {_PAID} AS paid, {_DUE} AS due,"  # noqa: S608
    f" {_TAKEN} AS taken, {_UNDERPRICED} AS underpriced, {_ENDED_WRONGLY} AS ended_wrongly"
    " FROM bets_bet b LEFT JOIN bets_settlement s ON s.column_start = b.column_start"
    f" WHERE b.payout_micros IS DISTINCT FROM {_PAID} OR b.status <> {_DUE} OR {_UNDERPRICED}"
    f" OR b.taken_low_cents IS DISTINCT FROM {_TAKEN} OR {_ENDED_WRONGLY})"
    " SELECT 'payouts_match' AS claim, 'payout of ' || status || ' bet', id,"
    " CAST(paid AS TEXT), CAST(payout_micros AS TEXT) FROM wrong"
    " WHERE payout_micros IS DISTINCT FROM paid"
    " UNION ALL SELECT 'payouts_match', 'rate of ' || status || ' bet', id,"
    " '>= ' || min_rate_bps, CAST(rate_bps AS TEXT) FROM wrong WHERE underpriced"
    " UNION ALL SELECT 'outcomes_match_decisions', 'status of bet', id, due, status FROM wrong"
    " WHERE status <> due"
    " UNION ALL SELECT 'bet_states', 'cell held by ' || status || ' bet', id,"
    " CAST(taken AS TEXT), CAST(taken_low_cents AS TEXT) FROM wrong"
    " WHERE taken_low_cents IS DISTINCT FROM taken"
    " UNION ALL SELECT 'bet_states', 'end of ' || status || ' bet', id,"
    " 'that of its status', CAST(resolved_at AS TEXT) FROM wrong WHERE ended_wrongly"
)
STATUS_OF_DEPOSIT: Final = (
    "SELECT 'transfers_have_entries' AS claim, 'entry of ' || t.status || ' deposit', t.id,"  # noqa: S608
    " CASE t.status WHEN 'completed' THEN t.amount_micros END, e.amount_micros"
    " FROM wallet_deposit t LEFT JOIN wallet_ledgerentry e"
    f" ON {ONCE} = 'DEPOSIT' AND e.reference = 'deposit:' || t.id"
    f" AND e.debit_wallet_id = {CUSTODY} AND e.credit_wallet_id = t.wallet_id"
    " WHERE e.amount_micros IS DISTINCT FROM"
    " CASE t.status WHEN 'completed' THEN t.amount_micros END"
)
HOLD_OF_WITHDRAWAL: Final = (
    "SELECT 'transfers_have_entries' AS claim, 'hold of ' || t.status || ' withdrawal', t.id,"  # noqa: S608
    " t.amount_micros, e.amount_micros FROM wallet_withdrawal t LEFT JOIN wallet_ledgerentry e"
    f" ON {ONCE} = 'HOLD' AND e.reference = 'withdrawal:' || t.id"
    " AND e.debit_wallet_id = t.wallet_id"
    " WHERE e.amount_micros IS DISTINCT FROM t.amount_micros"
)
_ENDED: Final = (
    "CASE WHEN t.status = 'completed' THEN 'WITHDRAWAL'"
    " WHEN t.status IN ('rejected', 'failed', 'cancelled') THEN 'RELEASE' END"
)
END_OF_WITHDRAWAL: Final = (
    "SELECT 'transfers_have_entries' AS claim, 'end of ' || t.status || ' withdrawal', t.id,"  # noqa: S608
    f" {_ENDED}, e.kind FROM wallet_withdrawal t LEFT JOIN wallet_ledgerentry e"
    f" ON {ONCE} = 'WITHDRAWAL' AND e.reference = 'withdrawal:' || t.id"
    f" WHERE e.kind IS DISTINCT FROM {_ENDED} OR e.amount_micros <> t.amount_micros"
    " OR (e.kind = 'RELEASE' AND e.credit_wallet_id <> t.wallet_id)"
)
NO_TRANSFER: Final = (
    "SELECT 'transfers_have_entries' AS claim, 'row of ' || e.reference || ', entry', e.id,"
    " 'one', 'none' FROM wallet_ledgerentry e WHERE {once} = '{once_kind}' AND NOT EXISTS"
    " (SELECT 1 FROM {table} t WHERE e.reference = '{prefix}:' || t.id)"
)
# As in the index `bet_open`, which `bet_states` vouches for.
_OPEN: Final = "b.taken_low_cents IS NOT NULL AND b.resolved_at IS NULL"
WRONG_OPEN_STAKE: Final = (
    "SELECT 'open_stake_matches' AS claim, 'open stake of wallet', w.id, coalesce(o.due, 0),"  # noqa: S608
    " w.open_stake_micros FROM wallet_wallet w LEFT JOIN (SELECT wallet_id, sum(stake_micros)"
    f" AS due FROM {{open_bets}} WHERE {_OPEN} GROUP BY wallet_id) o ON o.wallet_id = w.id"
    " WHERE w.open_stake_micros <> coalesce(o.due, 0)"
)
_HELD: Final = (
    "SELECT wallet_id, sum(amount_micros) AS due FROM wallet_withdrawal"
    " WHERE status IN ('held', 'approved', 'sent') GROUP BY wallet_id"
)
WRONG_HELD: Final = (
    "SELECT 'held_matches' AS claim, 'held by wallet', w.id, coalesce(h.due, 0), w.held_micros"  # noqa: S608
    f" FROM wallet_wallet w LEFT JOIN ({_HELD}) h ON h.wallet_id = w.id"
    " WHERE w.held_micros <> coalesce(h.due, 0)"
    " UNION ALL SELECT 'held_matches', 'balance of HOLD wallet', min(id),"
    f" (SELECT coalesce(sum(due), 0) FROM ({_HELD}) h), sum(balance_micros)"
    " FROM wallet_wallet WHERE kind = 'hold'"
    f" HAVING sum(balance_micros) <> (SELECT coalesce(sum(due), 0) FROM ({_HELD}) h)"
)
WRONG_EXPOSURE: Final = (
    "SELECT 'exposure_matches' AS claim, 'liability of cell', column_start || '_' || low_cents,"  # noqa: S608
    " sum(due), sum(stored) FROM"
    f" (SELECT b.house_id, b.column_start, b.low_cents, {_POTENTIAL} AS due, 0 AS stored"
    f" FROM {{open_bets}} WHERE b.status = 'confirmed' AND {_OPEN} UNION ALL"
    " SELECT house_id, column_start, low_cents, 0, liability_micros FROM bets_cellexposure) u"
    " GROUP BY house_id, column_start, low_cents HAVING sum(due) <> sum(stored)"
)
WRONG_USE: Final = (
    "SELECT 'session_key_use' AS claim, 'use of session key', k.id,"
    " k.archived_micros + coalesce(u.due, 0), k.used_micros"
    " FROM wallet_sessionkey k LEFT JOIN (SELECT session_key_id,"
    " sum(stake_micros) AS due FROM bets_bet WHERE session_key_id IS NOT NULL"
    " AND status <> 'rejected' GROUP BY session_key_id) u ON u.session_key_id = k.id"
    " WHERE k.used_micros <> k.archived_micros + coalesce(u.due, 0)"
)
# What the local custodian has done and the ledger has not heard of yet is under way, not wrong.
_HELD_BY_CUSTODIAN: Final = (
    "SELECT coalesce(sum(amount_micros), 0) FROM wallet_localtransfer WHERE key NOT IN"
    " (SELECT 'deposit:' || id FROM wallet_deposit WHERE status = 'pending' UNION ALL"
    " SELECT 'withdrawal:' || id FROM wallet_withdrawal WHERE status IN ('approved', 'sent'))"
)
WRONG_CUSTODY: Final = (
    "SELECT 'custody_matches' AS claim, 'balance of CUSTODY wallet', w.id,"  # noqa: S608
    f" -({_HELD_BY_CUSTODIAN}), w.balance_micros FROM wallet_wallet w WHERE w.id = {CUSTODY}"
    f" AND w.balance_micros <> -({_HELD_BY_CUSTODIAN})"
)


BOUNDED: Final = (
    "SELECT * FROM (SELECT q.*, count(*) OVER (PARTITION BY claim) AS total,"  # noqa: S608
    " row_number() OVER (PARTITION BY claim) AS number FROM ({}) q) r"
    f" WHERE number <= {EXAMPLES}"
)
