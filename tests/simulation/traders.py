"""Traders, operators and the custodian: what they may do at any moment, well-behaved or not."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.conf import settings

from bets.entry import BetRequest
from bets.grid import Cell, band_low, cell_id, open_columns
from bets.placing import RETRIABLE
from pricefeed import overrides
from taptrading.client import signing
from taptrading.errors import Refusal
from taptrading.limits import PRESETS_MICROS
from tests.simulation.world import MS, Deed, S
from wallet import deposits, link, session_keys, withdrawals
from wallet.custody import ZERO_ADDRESS, local
from wallet.keys import RevokeKey
from wallet.models import Deposit, SessionKey, Withdrawal
from wallet.transfers import (
    ApproveWithdrawal,
    CustodyReport,
    FundHouse,
    OpenWallet,
    RejectWithdrawal,
    SetFrozen,
)

if TYPE_CHECKING:
    from tests.simulation.history import History

USDC: Final = 1_000_000
PATIENCE_US: Final = 5 * S
Told = Callable[[Any], None]
_STAKES: Final = (*PRESETS_MICROS, USDC, 5 * USDC, 10 * USDC)


def _ignore(result: Any) -> None:
    """Whoever asked does not care."""


@cache
def key_of(name: str) -> signing.LocalKey:
    return signing.LocalKey.from_seed(name)


class Sent:
    """A signed bet, and what its trader has heard of it."""

    def __init__(self, request: BetRequest) -> None:
        self.request = request
        self.heard: list[str] = []


class Trader:
    def __init__(self, history: "History", number: int) -> None:
        self._history = history
        self._world = history.world
        self._random = history.world.random
        self.name = f"trader-{number}"
        self.key = key_of(self.name)
        self.address = self.key.address
        self.wallet_id = 0
        self.sent: list[Sent] = []
        self.session_keys: list[tuple[int, signing.LocalKey]] = []

    # Bets.

    def bet(self) -> None:
        self.send(self._signed(self._new_nonce()))

    def bet_several(self) -> None:
        """At once, some of them twice, some by one nonce."""
        nonce = self._new_nonce()
        for _ in range(self._random.randrange(2, 6)):
            if self._world.chance(0.7):
                nonce = self._new_nonce()
            sent = self._signed(nonce)
            self.send(sent)
            if self._world.chance(0.3):
                self.send(sent)

    def resend(self) -> None:
        if self.sent:
            self.send(self._random.choice(self.sent[-12:]))

    def reuse_nonce(self) -> None:
        """The same nonce for another bet, and then perhaps the first one again."""
        if self.sent:
            first = self._random.choice(self.sent[-6:])
            self.send(self._signed(first.request.nonce))
            if self._world.chance(0.5):
                later_us = self._random.randrange(200 * MS, 3 * S)
                self._world.after(later_us, f"{self.name} again", lambda: self.send(first))

    def ask_by_nonce(self) -> None:
        if self.sent:
            self.look_up(self._random.choice(self.sent[-20:]))

    def check(self) -> None:
        self.send(self._signed(self._new_nonce()), dry_run=True)

    def send(self, sent: Sent, *, dry_run: bool = False) -> None:
        history = self._history
        if not dry_run and sent not in self.sent:
            self.sent.append(sent)
        entry = self._random.choice(list(history.platform.entries))
        answered: list[Any] = []

        def hear(answer: Any) -> None:
            if not answered:
                answered.append(answer)
                if not dry_run:
                    self._hear(sent, answer)

        def reply(answer: Any) -> None:
            history.network.send(f"answer to {self.name}", lambda: hear(answer))

        def arrive() -> None:
            process = history.platform.entries[entry]
            process.do(lambda: process.place(sent.request, reply, dry_run))

        history.network.send(f"bet of {self.name}", arrive)
        self._world.after(PATIENCE_US, "no answer", lambda: hear(Refusal("outcome_unknown")))

    def probe(self, told: Told) -> None:
        """One bet more; `told` is the answer's code, or `accepted`."""
        sent = self._signed(self._new_nonce())
        self.send(sent)
        self._world.after(PATIENCE_US + MS, "probe ends", lambda: told(sent.heard))

    def look_up(self, sent: Sent) -> None:
        request = sent.request
        key = (self.wallet_id, request.nonce.replace("-", ""))
        self._history.audit.asked_by_nonce(key, request.timestamp)

    def _hear(self, sent: Sent, answer: Any) -> None:
        if isinstance(answer, dict):
            self._world.note(f"{self.name} hears accepted {answer['bet_id']}")
            sent.heard.append("accepted")
            self._history.audit.heard(self.wallet_id, sent.request, answer)
            return
        self._world.note(f"{self.name} hears {answer.code}")
        sent.heard.append(answer.code)
        again = answer.code in RETRIABLE or answer.code == "outcome_unknown"
        if again and len(sent.heard) < 4 and self._history.going:
            after_us = self._random.randrange(50 * MS, 3 * S)
            deed = self.look_up if self._world.chance(0.2) else self.send
            self._world.after(after_us, f"{self.name} again", lambda: deed(sent))

    def _signed(self, nonce: str) -> Sent:
        cell, min_rate = self._choose()
        key = self.key
        if self.session_keys and self._world.chance(0.4):
            _, key = self._random.choice(self.session_keys)
        elif self._world.chance(0.01):
            key = key_of("stranger")
        stake = self._random.choice(_STAKES) if self._world.chance(0.98) else 7
        at = self._world.wall_us // S + self._random.choice((0, 0, 0, 0, -1, -2, 1))
        if self._world.chance(0.02):
            at += self._random.choice((-40, -29, 4, 9))
        name = cell_id(cell)
        text = signing.bet_text(
            domain=settings.DOMAIN,
            chain_id=settings.CHAIN_ID,
            wallet=self.address,
            cell_id=name,
            stake_micros=stake,
            min_rate_bps=min_rate,
            nonce=nonce,
            timestamp=at,
        )
        signature = key.sign_text(text)
        request = BetRequest(
            self.address, name, stake, min_rate, nonce, at, settings.CHAIN_ID, signature
        )
        self._history.audit.signed(self.wallet_id, request, cell)
        return Sent(request)

    def _choose(self) -> tuple[Cell, int]:
        """A cell near the price that this trader sees, and a rate near the one on offer."""
        entry = self._random.choice(list(self._history.platform.entries.values()))
        quotes = entry.quotes
        quotes.refresh(entry.board.tick)
        cents = quotes.tick.price_cents if quotes.tick else 9_500_500
        columns = open_columns(self._world.wall_us)
        column = columns[self._random.choice(self._history.columns)]
        if self._world.chance(0.02):
            column += self._random.choice((-10, -5, 120, 1))
        low = band_low(cents) + 1_000 * self._random.choice((-3, -2, -1, 0, 1, 2, 3))
        cell = Cell(column, low, low + 1_000)
        offered = quotes.rate_bps(cell)
        factor = self._random.choice((0, 70, 95, 100, 100, 101))
        return cell, offered * factor // 100

    def _new_nonce(self) -> str:
        return str(UUID(int=self._random.getrandbits(128)))

    # Money in and out.

    def deposit(self) -> None:
        amount = self._random.randrange(1, 60) * USDC
        history = self._history

        def told(result: Any) -> None:
            if isinstance(result, Deposit):
                history.audit.told("wallet_deposit", result.pk, (self.wallet_id, amount))

        self._ask("deposit", lambda: deposits.request(self.wallet_id, amount), told)

    def withdraw(self) -> None:
        to = self._random.choice(
            (self.address, self.address, ZERO_ADDRESS, key_of("other").address)
        )
        nonce = self._new_nonce()
        self._withdraw(self._random.randrange(1, 150) * USDC, to, nonce)
        if self._world.chance(0.3):
            self._withdraw(self._random.randrange(1, 9) * USDC, to, nonce)

    def _withdraw(self, amount: int, to: str, nonce: str) -> None:
        at = self._world.wall_us // S
        text = signing.withdrawal_text(
            domain=settings.DOMAIN,
            chain_id=settings.CHAIN_ID,
            wallet=self.address,
            amount_micros=amount,
            to_address=to,
            nonce=nonce,
            timestamp=at,
        )
        fields = {
            "amount_micros": amount,
            "to_address": to,
            "nonce": nonce,
            "timestamp": at,
            "chain_id": settings.CHAIN_ID,
            "signature": bytes.fromhex(self.key.sign_text(text)[2:]),
        }
        history = self._history

        def told(result: Any) -> None:
            if isinstance(result, Withdrawal):
                history.audit.told("wallet_withdrawal", result.pk, (self.wallet_id, amount))

        now = self._world.wall_us
        self._ask(
            "withdraw",
            lambda: withdrawals.request(self.wallet_id, self.address, fields, now),
            told,
        )

    def cancel(self) -> None:
        def deed() -> Any:
            row = Withdrawal.objects.filter(wallet_id=self.wallet_id).order_by("-pk").first()
            return row and withdrawals.cancel(self.wallet_id, row.pk)

        self._ask("cancel", deed)

    # Session keys.

    def authorize(self) -> None:
        name = f"{self.name} key {self._random.randrange(3)}"
        key, at = key_of(name), self._world.wall_us // S
        terms = {
            "max_stake_micros": self._random.choice((5, 25, 100)) * USDC,
            "max_total_micros": self._random.choice((10, 60, 500)) * USDC,
        }
        expires = at + self._random.choice((8, 3_600))
        nonce = self._new_nonce()
        text = signing.session_key_text(
            domain=settings.DOMAIN,
            chain_id=settings.CHAIN_ID,
            wallet=self.address,
            key=key.address,
            label=name,
            expires_at=expires,
            nonce=nonce,
            timestamp=at,
            **terms,
        )
        fields = {
            **terms,
            "wallet": self.address,
            "key": key.address,
            "label": name,
            "expires_at": expires,
            "nonce": nonce,
            "timestamp": at,
            "chain_id": settings.CHAIN_ID,
            "signature": bytes.fromhex(self.key.sign_text(text)[2:]),
        }
        now = self._world.wall_us

        def told(result: Any) -> None:
            if isinstance(result, SessionKey):
                self.session_keys.append((result.pk, key))
                terms_told = (self.wallet_id, fields["max_total_micros"])
                self._history.audit.told("wallet_sessionkey", result.pk, terms_told)

        self._ask("authorize", lambda: session_keys.authorize(fields, now), told)

    def revoke(self) -> None:
        if self.session_keys:
            key_id, _ = self._random.choice(self.session_keys)
            self._ask("revoke", lambda: link.call(RevokeKey(self.wallet_id, key_id)))

    def _ask(self, label: str, deed: Deed, told: Told = _ignore) -> None:
        helper = self._history.platform.helpers["web"]
        helper.ask(f"{label} of {self.name}", deed, told)

    # What is done to it.

    def freeze(self) -> None:
        self._set_frozen(True)
        after_us = self._random.randrange(1 * S, 8 * S)
        self._world.after(after_us, "thaw", lambda: self._set_frozen(False))

    def _set_frozen(self, frozen: bool) -> None:
        self._ask("freeze", lambda: link.call(SetFrozen(self.wallet_id, frozen)))


class Operators:
    """People with rights, and the custodian's events that come twice."""

    def __init__(self, history: "History") -> None:
        self._history = history
        self._world = history.world
        self._random = history.world.random

    def approve(self) -> None:
        self._on_withdrawal(lambda row: ApproveWithdrawal(row.pk, "operator"))

    def reject(self) -> None:
        self._on_withdrawal(lambda row: RejectWithdrawal(row.pk, "operator", "no"))

    def _on_withdrawal(self, command: Callable[[Withdrawal], Any]) -> None:
        def deed() -> Any:
            row = Withdrawal.objects.order_by("-pk").first()
            return row and link.call(command(row))

        self._ask("operator", deed)

    def repeat_event(self) -> None:
        """The custodian tells of a transfer again, under the same name or another."""
        event_id = self._random.choice(("same", str(self._random.getrandbits(30))))

        def deed() -> Any:
            row = Deposit.objects.filter(status="completed").order_by("-pk").first()
            if row is None:
                return None
            address, amount = row.wallet.address or "", row.amount_micros
            name = f"local:deposit:{row.pk}" if event_id == "same" else event_id
            report = CustodyReport(name, "deposit.confirmed", str(row.pk), address, amount)
            return link.call(report)

        self._ask("custodian", deed)

    def fund_again(self) -> None:
        self._ask("fund", lambda: link.call(FundHouse(self._history.house_micros, "start")))

    def override(self) -> None:
        state = self._random.choice(("open", "close", "auto"))
        lasts_s = self._random.randrange(1, 6)
        record = overrides.record
        self._ask("override", lambda: record(state, reason="sim", by="op", lasts_s=lasts_s))
        feed = self._history.platform
        self._world.after(300 * MS, "feed looks", lambda: feed.feed.do(feed.feed.look))

    def _ask(self, label: str, deed: Callable[[], Any]) -> None:
        self._history.platform.helpers["web"].ask(label, deed)


def begin(history: "History") -> None:
    """Money for the house and for every trader, by the ways money takes."""
    local.fund("start", history.house_micros)
    link.call(FundHouse(history.house_micros, "start"))
    for number, trader in enumerate(history.traders):
        trader.wallet_id = link.call(OpenWallet(trader.address)).id
        amount = history.world.random.randrange(20, 300) * USDC
        if number == 0:
            deposits.request(trader.wallet_id, amount)
        else:  # as somebody who sends money without a word
            local._book(trader.name, trader.address, amount)
            link.call(CustodyReport(trader.name, "deposit.confirmed", "", trader.address, amount))
