"""What placing takes, stores, answers and tells of each bet of a batch, at the very bounds."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from django.db import OperationalError

from bets import counts
from bets.models import Bet
from bets.placing import PlaceBet, PlaceOutcome, PlacingHandler
from bets.pricing import Unpriced
from bets.wire import BetFacts, bet_json
from pricefeed.board import Board
from taptrading import clock, disk
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from tests import factories
from tests.factories import USDC, accepted, place_command
from tests.fakes import FakeNonces, InProcessLink, ManualClock
from wallet.events import Event
from wallet.ids import HOUSE
from wallet.keys import AuthorizeKey
from wallet.models import LedgerEntry, SessionKey, Wallet
from wallet.nonces import Admitted, Claim
from wallet.writer import Writer

LIMITED = Refusal("rate_limited", {"limit": 10})


class ScriptedNonces(FakeNonces):
    """Says what it was told to say of the next bets; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Admitted] = []
        self.asked: list[tuple[list[Claim], int]] = []

    def admit(self, bets: list[Claim], now_us: int) -> list[Admitted]:
        self.asked.append((bets, now_us))
        answers = super().admit(bets, now_us)
        said, self.script = self.script[: len(bets)], self.script[len(bets) :]
        return said + answers[len(said) :]


@pytest.fixture
def nonces() -> ScriptedNonces:
    return ScriptedNonces()


@pytest.fixture(autouse=True)
def whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """All refusals are decided: the database has to find none of them."""

    def split(self: Writer, commands: object, works: object) -> None:
        pytest.fail("the database refused a batch")

    monkeypatch.setattr(Writer, "_run_one_by_one", split)


@pytest.fixture
def player(writer: InProcessLink, feed_board: Board) -> Wallet:
    factories.funded_house(writer)
    factories.tick(feed_board)
    wallet = factories.funded_wallet(writer, usdc=100)
    writer.told.clear()
    return wallet


def refused(outcome: PlaceOutcome) -> Refusal:
    assert outcome.refusal is not None
    return outcome.refusal


def next_columns(command: PlaceBet, count: int) -> list[int]:
    return [command.column_start + 5 * number for number in range(count)]


def key_of(writer: InProcessLink, player: Wallet) -> SessionKey:
    done = writer.call(
        AuthorizeKey(
            wallet_id=player.pk,
            key=factories.address(),
            label="phone",
            max_stake_micros=10 * USDC,
            max_total_micros=12 * USDC,
            expires_at_us=1_764_000_060_000_000,
            nonce="0" * 32,
            timestamp=1_764_000_000,
            signature=bytes(65),
        )
    )
    writer.told.clear()
    return SessionKey.objects.get(pk=done.id)


@pytest.mark.parametrize("by_key", [True, False])
def test_bet_when_accepted_then_stored_moved_answered_and_told_as_it_was_signed(
    writer: InProcessLink, player: Wallet, now: ManualClock, by_key: bool
) -> None:
    key = key_of(writer, player) if by_key else None
    signature = bytes(range(65))
    changes = {"key_id": key.pk if key else 0, "signature": signature, "min_rate_bps": 10_007}
    command = place_command(player, **changes)
    outcome = writer.call(command)
    bet = Bet.objects.get()
    player.refresh_from_db()

    for name in ("wallet_id", "column_start", "low_cents", "high_cents", "stake_micros"):
        assert getattr(bet, name) == getattr(command, name), name
    assert (bet.min_rate_bps, bet.nonce.hex) == (10_007, command.nonce)
    assert (bet.timestamp, bytes(bet.signature)) == (command.timestamp, signature)
    assert (bet.house_id, bet.taken_low_cents) == (HOUSE, command.low_cents)
    assert bet.session_key_id == (key.pk if key else None)
    assert (bet.status, bet.reason, clock.to_us(bet.accepted_at)) == ("accepted", "", now.us)
    assert (bet.cursor, bet.confirmed_at, bet.resolved_at) == (player.cursor, None, None)

    stake = LedgerEntry.objects.get(kind="STAKE")
    assert (stake.debit_wallet_id, stake.credit_wallet_id) == (player.pk, HOUSE)
    assert (stake.amount_micros, stake.reference) == (5 * USDC, f"bet:{bet.pk}")
    assert (player.balance_micros, player.open_stake_micros) == (95 * USDC, 5 * USDC)

    money = (player.cursor, 95 * USDC)
    assert outcome == PlaceOutcome(None, 19, 100_000, bet.pk, now.us, *money)
    (event,) = writer.told
    assert isinstance(event, Event)
    assert (event.wallet_id, event.name) == (player.pk, "bet.accepted")
    assert (event.cursor, event.balance_micros) == money
    assert BetFacts(*event.data).json() == bet_json(bet)


def test_bets_when_they_share_a_batch_then_each_is_answered_with_the_balance_after_it(
    writer: InProcessLink, player: Wallet
) -> None:
    columns = next_columns(place_command(player), 3)
    outcomes = writer.run([place_command(player, column_start=column) for column in columns])
    assert [outcome.balance_micros for outcome in outcomes] == [95 * USDC, 90 * USDC, 85 * USDC]
    assert [event.balance_micros for event in writer.told] == [95 * USDC, 90 * USDC, 85 * USDC]
    after = LedgerEntry.objects.filter(kind="STAKE").order_by("id")
    assert list(after.values_list("debit_balance_after_micros", flat=True)) == [
        *(95 * USDC, 90 * USDC, 85 * USDC)
    ]


def test_bet_when_it_stakes_the_whole_balance_then_accepted(
    writer: InProcessLink, player: Wallet
) -> None:
    assert writer.call(place_command(player, stake_micros=100 * USDC)).balance_micros == 0


def test_bet_when_a_micro_short_then_refused_with_the_balance(
    writer: InProcessLink, player: Wallet
) -> None:
    outcome = writer.call(place_command(player, stake_micros=100 * USDC + 1))
    refusal = Refusal("insufficient_funds", {"balance_micros": 100 * USDC})
    assert outcome == PlaceOutcome(refusal, 19, 100_000)
    assert not Bet.objects.exists()


def test_bet_when_on_the_first_open_column_then_accepted_and_on_the_one_before_locked(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    first = now.us // 1_000_000 // 5 * 5 + 10
    assert refused(writer.call(place_command(player, column_start=first - 5))).code == (
        "cell_locked"
    )
    accepted(writer.call(place_command(player, column_start=first)))


def test_cell_when_taken_in_the_same_batch_then_refused_before_the_database_has_to(
    writer: InProcessLink, player: Wallet
) -> None:
    other = factories.funded_wallet(writer)
    column = place_command(player).column_start
    commands = [
        place_command(player),
        place_command(player),
        place_command(other),
        place_command(player, column_start=column + 5),
        place_command(player, low_cents=9_501_000, high_cents=9_502_000),
    ]
    codes = [outcome.refusal and outcome.refusal.code for outcome in writer.run(commands)]
    assert codes == [None, "cell_taken", None, None, None]


def test_bet_when_the_quote_is_a_second_old_then_by_whole_milliseconds(
    writer: InProcessLink, player: Wallet, now: ManualClock
) -> None:
    now.us += LIMITS.quote_age_ms * 1_000 + 999
    accepted(writer.call(place_command(player)))
    now.us += 1
    stale = Refusal("price_stale", {"age_ms": LIMITS.quote_age_ms + 1})
    outcome = writer.call(place_command(player))
    assert outcome.refusal == stale
    assert isinstance(refused(outcome).detail["age_ms"], int)


def test_bets_when_committed_then_counted_and_only_then(
    writer: InProcessLink, player: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(counts, "accepted", SimpleNamespace(inc=counted.append))
    columns = next_columns(place_command(player), 2)
    poor = place_command(player, stake_micros=100 * USDC + 1)
    writer.run([*(place_command(player, column_start=column) for column in columns), poor])
    assert counted == [2]


# What the nonces' keeper says, and is told


def test_admission_when_asked_for_then_at_the_clocks_time_and_not_for_a_dry_run(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces, now: ManualClock
) -> None:
    real = place_command(player)
    dry, outcome = writer.run([place_command(player, dry_run=True), real])
    assert nonces.asked == [([real], now.us)]
    assert dry == PlaceOutcome(None, -1, 0)
    assert (outcome.remaining, outcome.wait_us) == (19, 100_000)


def test_batch_when_not_every_bet_has_its_answer_then_broken_off_and_none_accepted(
    writer: InProcessLink,
    player: Wallet,
    nonces: ScriptedNonces,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bet that nobody admitted has claimed no nonce."""
    monkeypatch.setattr(nonces, "admit", lambda bets, now_us: [Admitted(None, 9, 9)])
    columns = next_columns(place_command(player), 2)
    with pytest.raises(ValueError, match="shorter"):
        writer.run([place_command(player, column_start=column) for column in columns])
    assert not Bet.objects.exists()


def test_nonces_when_not_every_bet_has_its_outcome_then_none_is_settled(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces, feed_board: Board
) -> None:
    handler = PlacingHandler(nonces, feed_board, Unpriced(feed_board))
    work = handler.begin([place_command(player), place_command(player)])
    work.admit()
    with pytest.raises(ValueError, match="shorter"):
        work.finish([PlaceOutcome(Refusal("cell_taken"))], committed=False)
    assert nonces.given_back == []


def test_bet_when_over_its_rate_then_refused_though_its_nonce_has_a_bet(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces
) -> None:
    command = place_command(player)
    bet = accepted(writer.call(command))
    nonces.script = [Admitted(LIMITED, 0, 77)]
    assert writer.call(command) == PlaceOutcome(LIMITED, 0, 77)
    again = refused(writer.call(command))
    assert (again.code, again.detail) == ("nonce_reused", {"bet": bet, "same_request": True})


def test_bet_when_its_nonce_was_refused_before_then_a_stored_bet_answers_first(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces
) -> None:
    before = Refusal("cell_taken", {"repeated": True})
    command, other = place_command(player), place_command(player)
    accepted(writer.call(command))
    nonces.script = [Admitted(before, 5, 6), Admitted(before, 4, 3)]
    with_a_bet, without = writer.run([command, other])
    assert refused(with_a_bet).code == "nonce_reused"
    assert without == PlaceOutcome(before, 4, 3)


def test_nonces_when_a_batch_is_decided_then_told_of_its_final_refusals_only(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces
) -> None:
    """Not of accepted bets, nonces with a bet, or what was refused at admission, wherever they
    stand in the batch."""
    first = place_command(player)
    accepted(writer.call(first))
    columns = next_columns(first, 3)
    fine = place_command(player, column_start=columns[1])
    poor = place_command(player, column_start=columns[2], stake_micros=100 * USDC)
    limited, used = place_command(player), msgspec.structs.replace(first)
    repeated = msgspec.structs.replace(poor)
    taken = place_command(player)
    nonces.script = [
        *(Admitted(None, 9, 9), Admitted(None, 8, 8), Admitted(LIMITED, 0, 7)),
        *(Admitted(None, 7, 6), Admitted(None, 6, 5), Admitted(None, 5, 4)),
    ]
    outcomes = writer.run([fine, poor, limited, used, repeated, taken])
    assert [outcome.refusal and outcome.refusal.code for outcome in outcomes] == [
        *(None, "insufficient_funds", "rate_limited", "nonce_reused"),
        *("insufficient_funds", "cell_taken"),
    ]
    assert refused(outcomes[4]).detail["repeated"] is True
    assert nonces.refused == [(poor, refused(outcomes[1])), (taken, refused(outcomes[5]))]
    assert nonces.given_back == []


def test_nonces_when_the_batch_cannot_be_committed_then_those_it_claimed_are_given_back(
    writer: InProcessLink,
    player: Wallet,
    nonces: ScriptedNonces,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def disk_full(_: object) -> None:
        raise OperationalError("database or disk is full")

    columns = next_columns(place_command(player), 4)
    first, limited, dry, last = (
        place_command(player, column_start=column, dry_run=number == 2)
        for number, column in enumerate(columns)
    )
    nonces.script = [Admitted(None, 9, 9), Admitted(LIMITED, 0, 7), Admitted(None, 8, 8)]
    with monkeypatch.context() as patched:
        patched.setattr("wallet.book.Book.persist", disk_full)
        writer.run([first, limited, dry, last])
    assert nonces.given_back == [first, last]
    assert nonces.refused == []
    assert writer.told == []
    assert writer.run_due() == 0  # nothing waits to be priced


def test_bets_when_redis_is_away_then_all_refused_and_nothing_settled(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces
) -> None:
    nonces.away = True
    away = Refusal("dependency_unavailable", {"what": "redis"})
    assert (
        writer.run([place_command(player), place_command(player, dry_run=True)])
        == [PlaceOutcome(away, -1, 0)] * 2
    )
    assert (nonces.given_back, nonces.refused) == ([], [])
    assert not Bet.objects.exists()


def test_bet_when_the_disk_is_nearly_full_then_refused_and_its_nonce_is_free_again(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces, monkeypatch: pytest.MonkeyPatch
) -> None:
    bet = place_command(player)
    nonces.script = [Admitted(None, 9, 9)]
    with monkeypatch.context() as patched:
        patched.setattr(disk.watch, "level", disk.Level.REFUSE)
        outcome = writer.call(bet)
    full = Refusal("dependency_unavailable", {"what": "disk"})
    assert outcome == PlaceOutcome(full, 9, 9)
    assert nonces.given_back == [bet]
    assert not Bet.objects.exists()


# A request that comes twice in one batch


def test_request_when_limited_first_then_still_accepted_the_second_time(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces
) -> None:
    command = place_command(player)
    nonces.script = [Admitted(LIMITED, 0, 7)]
    first, second = writer.run([command, msgspec.structs.replace(command)])
    assert refused(first) == LIMITED
    accepted(second)


def test_request_when_refused_as_a_dry_run_then_still_accepted(
    writer: InProcessLink, player: Wallet
) -> None:
    command = place_command(player)
    moved = Refusal("rate_moved", {"rate_bps": 10_200})
    dry = msgspec.structs.replace(command, dry_run=True, verdict=moved)
    first, second = writer.run([dry, command])
    assert first == PlaceOutcome(moved, -1, 0)
    accepted(second)


def test_request_when_refused_then_its_dry_run_is_judged_afresh(
    writer: InProcessLink, player: Wallet
) -> None:
    command = place_command(player, verdict=Refusal("rate_moved", {"rate_bps": 10_200}))
    dry = msgspec.structs.replace(command, dry_run=True, verdict=None)
    first, second = writer.run([command, dry])
    assert refused(first).code == "rate_moved"
    assert second == PlaceOutcome(None, -1, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("column_start", 1_764_000_050),
        ("low_cents", 9_400_000),
        ("high_cents", 9_400_000),
        ("stake_micros", 10 * USDC),
        ("min_rate_bps", 10_001),
        ("timestamp", 1_763_999_999),
    ],
)
def test_nonce_when_a_signed_field_differs_then_not_the_same_request(
    writer: InProcessLink, player: Wallet, field: str, value: Any
) -> None:
    command = place_command(player)
    changed = msgspec.structs.replace(command, **{field: value})
    bet = accepted(writer.call(command))
    for same, asked in ((True, command), (False, changed)):
        refusal = Refusal("nonce_reused", {"bet": bet, "same_request": same})
        assert refused(writer.call(asked)) == refusal


def test_digest_when_signatures_differ_then_so_does_it() -> None:
    wallet = Wallet(pk=7)
    assert (
        place_command(wallet, signature=bytes([0, 1, *range(63)])).digest == 0x0001_0001_0203_0405
    )
    assert place_command(wallet, signature=bytes(8) + b"\x01" * 57).digest == 0


# Session keys


def test_bet_when_rejected_by_its_tick_then_the_key_gets_its_stake_back(
    writer: InProcessLink, player: Wallet, now: ManualClock, feed_board: Board
) -> None:
    key = key_of(writer, player)
    writer.call(place_command(player, key_id=key.pk, min_rate_bps=199_999))
    key.refresh_from_db()
    assert key.used_micros == 5 * USDC
    now.advance(0.3)
    factories.tick(feed_board)
    writer.run_due()
    key.refresh_from_db()
    assert (Bet.objects.get().status, key.used_micros) == ("rejected", 0)


def test_bets_when_by_the_wallet_and_its_key_in_one_batch_then_each_as_it_was_signed(
    writer: InProcessLink, player: Wallet
) -> None:
    key = key_of(writer, player)
    columns = next_columns(place_command(player), 2)
    writer.run(
        [
            place_command(player, column_start=columns[0]),
            place_command(player, column_start=columns[1], key_id=key.pk),
        ]
    )
    signers = Bet.objects.order_by("column_start").values_list("session_key", flat=True)
    assert list(signers) == [None, key.pk]
    key.refresh_from_db()
    assert key.used_micros == 5 * USDC


# The handler


def test_handler_when_it_starts_then_its_largest_id_is_that_of_the_bets(
    writer: InProcessLink, player: Wallet, nonces: ScriptedNonces, feed_board: Board
) -> None:
    handler = PlacingHandler(nonces, feed_board, Unpriced(feed_board))
    assert (handler.largest_id(), handler.due(0)) == (0, [])
    outcome = writer.call(place_command(player))
    assert handler.largest_id() == outcome.bet_id
