"""The integrity check: silent on a clean database, and each kind of damage found by its check."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper

from bets import tasks
from bets.models import Bet
from ops.integrity import CLAIMS, verify
from ops.integrity.findings import EXAMPLES, Finding, Report
from pricefeed.board import Board
from tests import factories
from tests.factories import PRICE_CENTS, USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet import custody, seals
from wallet.keys import AuthorizeKey
from wallet.models import LedgerEntry, Seal, SessionKey, Wallet
from wallet.transfers import FundHouse, RequestWithdrawal

OWN = PRICE_CENTS // 1_000 * 1_000


@pytest.fixture
def books(writer: InProcessLink, now: ManualClock, feed_board: Board) -> None:
    """A bet of every status, a session key's among them, and a withdrawal that is held."""
    for reference in ("first", "second"):
        writer.call(FundHouse(5_000_000 * USDC, reference))
        custody.local.fund(reference, 5_000_000 * USDC)
    player, other = _player(writer, "a" * 40), _player(writer, "b" * 40)
    key_id = _authorize_key(writer, player, now)
    factories.tick(feed_board)
    _bet(writer, player, 0, key_id=key_id)
    lost = _bet(writer, player, 2)
    _price(writer, now, feed_board)
    now.us = lost.column_start * 1_000_000 - 100_000
    for _ in range(52):
        factories.tick(feed_board)
        now.advance(0.1)
    void = _bet(writer, other, 0)
    _bet(writer, other, 0, column_start=void.column_start + 5, min_rate_bps=10**9)
    _price(writer, now, feed_board)
    assert tasks.settle_due_columns() == 2
    now.us = void.column_start * 1_000_000
    factories.tick(feed_board)
    now.advance(60)
    factories.tick(feed_board)
    assert tasks.settle_due_columns() == 1
    _bet(writer, player, 0)
    _price(writer, now, feed_board)
    _bet(writer, player, 1)
    nonce = "c" * 32
    writer.call(RequestWithdrawal(other.pk, 3 * USDC, str(other.address), nonce, 0, bytes(65)))
    assert set(Bet.objects.values_list("status", flat=True)) == set(Bet.Status.values)


def _player(writer: InProcessLink, digits: str) -> Wallet:
    wallet = factories.funded_wallet(writer, usdc=100)
    custody.local.fund(digits, 100 * USDC)
    return wallet


def _authorize_key(writer: InProcessLink, player: Wallet, now: ManualClock) -> int:
    expires_us = now.us + 3_600_000_000
    limits = (100 * USDC, 1_000 * USDC, expires_us)
    writer.call(AuthorizeKey(player.pk, f"0x{'d' * 40}", "key", *limits, "e" * 32, 0, bytes(65)))
    key = SessionKey.objects.get()
    return int(key.pk)


def _bet(writer: InProcessLink, player: Wallet, bands_up: int, **changes: int) -> Bet:
    low = OWN + 1_000 * bands_up
    command = place_command(player, low_cents=low, high_cents=low + 1_000, **changes)
    return Bet.objects.get(pk=accepted(writer.call(command))["bet_id"])


def _price(writer: InProcessLink, now: ManualClock, board: Board) -> None:
    now.advance(0.3)
    factories.tick(board)
    writer.run_due()


@contextmanager
def tampering() -> Iterator[CursorWrapper]:
    """Someone with the file in hand: no trigger and no constraint is in the way, and whatever
    guards were taken down are put back."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE type = 'trigger'"
            " OR name = 'ledger_once'"
        )
        guards = cursor.fetchall()
        for kind, name, _ in guards:
            cursor.execute(f"DROP {kind} {name}")
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        yield cursor
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
        for kind, _, statement in guards:
            if kind == "trigger":
                cursor.execute(statement)


def reseal(cursor: CursorWrapper) -> None:
    """Make the chain of seals fit entries that were changed."""
    previous = seals.GENESIS
    for seal in Seal.objects.order_by("id"):
        under = LedgerEntry.objects.filter(id__range=(seal.first_entry_id, seal.last_entry_id))
        fields = [field.attname for field in LedgerEntry._meta.concrete_fields]
        leaves = []
        for values in under.order_by("id").values_list(*fields[:-1]):
            created_at = under.extra(select={"us": "created_at"}).values_list("us", flat=True)
            leaves.append(seals.leaf(seals.Entry(*values, created_at.get(id=values[0]))))
        sealed = seals.seal(previous, leaves)
        cursor.execute(
            "UPDATE wallet_seal SET previous = %s, seal = %s WHERE id = %s",
            [previous, sealed, seal.pk],
        )
        previous = sealed


def test_clean_database_has_no_findings(books: None) -> None:
    assert verify() == Report()


def test_empty_database_has_no_findings(own_wallets: None) -> None:
    assert verify() == Report()


WON = "(SELECT min(id) FROM bets_bet WHERE status = 'won')"
OTHER = "(SELECT max(id) FROM wallet_wallet WHERE kind = 'player')"
LOST = "(SELECT id FROM bets_bet WHERE status = 'lost')"
VOID = "(SELECT id FROM bets_bet WHERE status = 'void')"
PLAYER = "(SELECT min(id) FROM wallet_wallet WHERE kind = 'player')"


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        # balances
        (
            f"UPDATE wallet_wallet SET balance_micros = balance_micros"
            f" + CASE id WHEN 3 THEN -1 ELSE 1 END WHERE id IN (3, {PLAYER})",
            {"balances_match_entries"},
        ),
        (
            f"UPDATE wallet_wallet SET balance_micros = balance_micros + 1 WHERE id = {PLAYER}",
            {"balances_match_entries", "sum_is_zero"},
        ),
        (
            f"UPDATE wallet_wallet SET balance_micros = balance_micros - 1000000000"
            f" * CASE id WHEN 3 THEN -1 ELSE 1 END WHERE id IN (3, {PLAYER})",
            {"balances_match_entries", "no_negative_balance"},
        ),
        (
            f"UPDATE wallet_wallet SET open_stake_micros = 1 WHERE id = {PLAYER}",
            {"open_stake_matches"},
        ),
        (f"UPDATE wallet_wallet SET held_micros = 1 WHERE id = {PLAYER}", {"held_matches"}),
        # the ledger
        (
            "UPDATE wallet_ledgerentry SET debit_balance_after_micros ="
            " debit_balance_after_micros + 1 WHERE id = (SELECT max(id) FROM wallet_ledgerentry)",
            {"chain", "seals"},
        ),
        (
            "UPDATE wallet_ledgerentry SET created_at = created_at + 1"
            " WHERE id = (SELECT min(id) FROM wallet_ledgerentry)",
            {"seals"},
        ),
        ("UPDATE wallet_seal SET seal = zeroblob(32) WHERE id = 3", {"seals"}),
        ("UPDATE wallet_seal SET previous = zeroblob(32) WHERE id = 3", {"seals"}),
        ("UPDATE wallet_seal SET entries = entries + 1 WHERE id = 3", {"seals"}),
        ("UPDATE wallet_seal SET last_entry_id = last_entry_id + 1 WHERE id = 3", {"seals"}),
        ("DELETE FROM wallet_seal WHERE id = 3", {"seals"}),
        ("DELETE FROM wallet_seal WHERE id = (SELECT max(id) FROM wallet_seal)", {"seals"}),
        ("DELETE FROM wallet_seal", {"seals"}),
        # bets and their entries
        (f"DELETE FROM bets_bet WHERE id = {LOST}", {"entries_have_bets"}),
        (
            "UPDATE bets_bet SET status = 'rejected', payout_micros = NULL, resolved_at = NULL,"
            f" taken_low_cents = NULL WHERE id = {LOST}",
            {"bets_have_entries"},
        ),
        (
            "CREATE TABLE copy AS SELECT * FROM bets_bet WHERE status = 'lost';"
            f" UPDATE copy SET id = id + 1, nonce = 'x', wallet_id = {OTHER};"
            " INSERT INTO bets_bet SELECT * FROM copy",
            {"bets_have_entries"},
        ),
        (
            f"UPDATE bets_bet SET payout_micros = payout_micros + 1 WHERE id = {WON}",
            {"payouts_match"},
        ),
        (f"UPDATE bets_bet SET payout_micros = 1 WHERE id = {LOST}", {"payouts_match"}),
        (f"UPDATE bets_bet SET payout_micros = NULL WHERE id = {VOID}", {"payouts_match"}),
        (f"UPDATE bets_bet SET min_rate_bps = rate_bps + 1 WHERE id = {WON}", {"payouts_match"}),
        (
            "UPDATE bets_settlement SET low_cents = 1, high_cents = 2 WHERE state = 'settled'",
            {"outcomes_match_decisions"},
        ),
        (
            "UPDATE bets_settlement SET state = 'settled', low_cents = 1, high_cents = 2"
            " WHERE state = 'void'",
            {"outcomes_match_decisions"},
        ),
        (f"UPDATE bets_bet SET taken_low_cents = NULL WHERE id = {WON}", {"bet_states"}),
        ("UPDATE bets_bet SET resolved_at = 1 WHERE status = 'rejected'", {"bet_states"}),
        ("DELETE FROM bets_settlement", {"outcomes_match_decisions"}),
        (
            "UPDATE bets_cellexposure SET liability_micros = liability_micros + 1",
            {"exposure_matches"},
        ),
        ("DELETE FROM bets_cellexposure", {"exposure_matches"}),
        # the rest
        ("UPDATE wallet_sessionkey SET used_micros = used_micros + 1", {"session_key_use"}),
        ("UPDATE wallet_localtransfer SET amount_micros = amount_micros + 1", {"custody_matches"}),
        ("UPDATE wallet_deposit SET amount_micros = amount_micros + 1", {"transfers_have_entries"}),
        ("DELETE FROM wallet_deposit", {"transfers_have_entries"}),
        (
            "UPDATE wallet_withdrawal SET amount_micros = amount_micros + 1",
            {"transfers_have_entries", "held_matches"},
        ),
        (
            "UPDATE wallet_withdrawal SET status = 'completed'",
            {"transfers_have_entries", "held_matches"},
        ),
    ],
)
def test_damage_is_reported_by_its_check(books: None, damage: str, found: set[str]) -> None:
    with tampering() as cursor:
        for statement in damage.split(";"):
            cursor.execute(statement)
    assert verify().totals.keys() == found


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            "UPDATE wallet_ledgerentry SET debit_balance_after_micros ="
            " debit_balance_after_micros + 1 WHERE id = (SELECT max(id) FROM wallet_ledgerentry)",
            {"chain"},
        ),
        (
            "UPDATE wallet_ledgerentry SET reference = 'first' WHERE reference = 'second'",
            {"one_outcome"},
        ),
        (
            f"UPDATE wallet_ledgerentry SET reference = 'bet:0' || {LOST}"
            f" WHERE reference = 'bet:' || {LOST}",
            {"entries_have_bets", "bets_have_entries"},
        ),
        (
            f"UPDATE wallet_ledgerentry SET reference = 'bet:' || {LOST}"
            f" WHERE reference = 'bet:' || {WON} AND kind = 'PAYOUT'",
            {"bets_have_entries"},
        ),
        (
            "UPDATE wallet_ledgerentry SET kind = 'ADJUSTMENT'"
            f" WHERE reference = 'bet:' || {WON} AND kind = 'PAYOUT'",
            {"bets_have_entries"},
        ),
        (
            "UPDATE wallet_ledgerentry SET kind = 'ADJUSTMENT', reference = 'x'"
            " WHERE kind = 'HOLD'",
            {"transfers_have_entries"},
        ),
    ],
)
def test_damage_under_a_forged_chain_of_seals_is_reported_by_its_check(
    books: None, damage: str, found: set[str]
) -> None:
    with tampering() as cursor:
        cursor.execute(damage)
        reseal(cursor)
    assert verify().totals.keys() == found


def test_entry_that_overdrew_a_wallet_is_reported_although_it_was_paid_back(books: None) -> None:
    with tampering() as cursor:
        cursor.execute(
            "UPDATE wallet_ledgerentry SET debit_balance_after_micros = -1"
            " WHERE kind = 'STAKE' AND reference = 'bet:' || " + LOST
        )
    assert "no_negative_balance" in verify().totals


@pytest.mark.parametrize("table", ["wallet_ledgerentry", "wallet_seal"])
def test_trigger_that_is_gone_is_reported(books: None, table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER {table}_no_update")
    report = verify()
    assert report.totals == {"triggers_present": 1}
    assert report.examples == [
        Finding("triggers_present", "trigger", f"{table}_no_update", "there", "gone")
    ]


def test_finding_names_the_row_what_was_due_and_what_is_there(books: None) -> None:
    bet = Bet.objects.get(status="won")
    with tampering() as cursor:
        cursor.execute("UPDATE bets_bet SET payout_micros = 7 WHERE id = %s", [bet.pk])
    (finding,) = verify().examples
    assert finding == Finding(
        "payouts_match", "payout of won bet", bet.pk, str(bet.payout_micros), "7"
    )


def test_check_that_was_not_asked_for_reports_nothing(books: None) -> None:
    with tampering() as cursor:
        cursor.execute("UPDATE wallet_seal SET seal = zeroblob(32)")
    assert verify(["chain"]) == Report()
    assert verify(["seals"]).totals.keys() == {"seals"}


def test_report_counts_all_findings_and_keeps_some() -> None:
    report, other = Report(), Report()
    for number in range(EXAMPLES):
        report.add(Finding("seals", "x", number, 1, 2))
    other.add(Finding("seals", "x", 99, 1, 2), 500)
    report.merge(other)
    assert report.totals == {"seals": EXAMPLES + 500}
    assert [finding.id for finding in report.examples] == list(range(EXAMPLES))


def test_every_claim_has_damage_that_breaks_it() -> None:
    """Of the tests above; a claim added without one would be a promise nobody has seen kept."""
    tested = {"triggers_present", "no_negative_balance"}
    for test in (
        test_damage_is_reported_by_its_check,
        test_damage_under_a_forged_chain_of_seals_is_reported_by_its_check,
    ):
        (mark,) = test.pytestmark
        tested.update(*(found for _, found in mark.args[1]))
    assert tested == CLAIMS.keys()
