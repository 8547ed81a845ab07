"""A trader's whole visit: sign in, deposit, play, withdraw everything, prove the ledger."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ops.play.game import Game
from ops.play.journal import Journal, known, percentile
from ops.play.options import Options, PlayError
from ops.play.proof import Check, Evidence, prove
from ops.play.screen import Screen
from taptrading.client import Client, ClientError, LocalKey, Stream
from taptrading.client.shapes import RESOLVED, SessionKey, Withdrawal
from taptrading.client.transport import monotonic_us
from taptrading.money import format_usdc

_KEY_LASTS_S = 3_600


@dataclass(frozen=True)
class Result:
    journal: Journal
    checks: list[Check]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


class Trader:
    def __init__(self, client: Client, options: Options, screen: Screen) -> None:
        self._client = client
        self._options = options
        self._screen = screen
        self._wallet = LocalKey.from_seed(f"play {options.seed}")
        # Fresh each time: a wallet authorises a key once.
        self._session_key = LocalKey.random()

    def visit(self) -> Result:
        """Raises PlayError and the client's errors."""
        key = self._arrive()
        try:
            journal = asyncio.run(self._play())
        finally:
            self._revoke(key)
        withdrawal = self._withdraw()
        evidence = collect(self._client)
        checks = [*prove(evidence), _all_gone(evidence, withdrawal)]
        return Result(journal, checks)

    def _arrive(self) -> SessionKey:
        config, options = self._client.config(), self._options
        if options.stake_micros not in config.presets_micros:
            presets = ", ".join(format_usdc(micros) for micros in config.presets_micros)
            raise PlayError(f"the stake must be one of {presets}")
        self._client.sign_in(self._wallet)
        self._screen.say(f"wallet {self._wallet.address} (seed {options.seed}) is signed in")
        self._deposit()
        key = self._client.authorize_key(
            self._wallet,
            self._session_key.address,
            label="manage.py play",
            lasts_s=_KEY_LASTS_S,
            max_stake_micros=options.stake_micros,
            max_total_micros=options.stake_micros * options.taps_max,
        )
        self._screen.say(f"session key {self._session_key.address} may bet for an hour")
        return key

    def _deposit(self) -> None:
        deposit = self._client.deposit(self._options.deposit_micros)
        amount = format_usdc(deposit.amount_micros)
        if deposit.status == "pending":
            self._screen.say(f"waiting for the custodian to confirm {amount} USDC")
        _until(lambda: self._deposit_status(deposit.deposit_id) != "pending", 60, "the deposit")
        if self._deposit_status(deposit.deposit_id) != "completed":
            raise PlayError("the deposit failed")
        self._screen.say(f"deposited {amount} USDC")

    def _deposit_status(self, deposit_id: str) -> str:
        return next(d.status for d in self._client.deposits() if d.deposit_id == deposit_id)

    async def _play(self) -> Journal:
        stream = Stream(
            self._client.socket_url,
            token=self._client.token,
            channels=["price", "grid", "status", "bets"],
        )
        game = Game(
            self._client,
            stream,
            wallet=self._wallet,
            session_key=self._session_key,
            options=self._options,
            screen=self._screen,
        )
        await game.play()
        return game.journal

    def _revoke(self, key: SessionKey) -> None:
        try:
            self._client.revoke_key(key.key_id)
        except ClientError as error:
            self._screen.say(f"the session key could not be revoked: {error}")

    def _withdraw(self) -> Withdrawal | None:
        balance_micros = self._client.wallet().balance_micros
        if balance_micros == 0:
            self._screen.say("nothing is left to withdraw")
            return None
        sent = self._client.withdraw(self._wallet, balance_micros)
        self._screen.say(f"withdrawing {format_usdc(balance_micros)} USDC")
        final = ("completed", "rejected", "failed", "cancelled")
        _until(lambda: self._withdrawal(sent).status in final, 120, "the withdrawal")
        withdrawal = self._withdrawal(sent)
        self._screen.say(f"the withdrawal is {withdrawal.status}")
        return withdrawal

    def _withdrawal(self, sent: Withdrawal) -> Withdrawal:
        return next(w for w in self._client.withdrawals() if w.withdrawal_id == sent.withdrawal_id)


def _until(is_so: Callable[[], bool], patience_s: float, what: str) -> None:
    give_up_us = monotonic_us() + int(patience_s * 1_000_000)
    while not is_so():
        if monotonic_us() > give_up_us:
            raise PlayError(f"{what} is not through after {patience_s:.0f} s")
        time.sleep(0.25)


def collect(client: Client) -> Evidence:
    """Every page of everything that the wallet can see."""
    bets = list(client.bets())
    columns = {bet.cell[0] for bet in bets if bet.status in RESOLVED}
    return Evidence(
        wallet=client.wallet(),
        entries=list(client.ledger())[::-1],
        bets=bets,
        deposits=list(client.deposits()),
        withdrawals=list(client.withdrawals()),
        settlements={column: client.settlement(column) for column in sorted(columns)},
    )


def _all_gone(evidence: Evidence, withdrawal: Withdrawal | None) -> Check:
    problems = []
    if withdrawal is not None and withdrawal.status != "completed":
        problems.append(f"the withdrawal is {withdrawal.status}")
    wallet = evidence.wallet
    left_micros = wallet.balance_micros + wallet.held_micros + wallet.open_stake_micros
    if left_micros:
        problems.append(f"{format_usdc(left_micros)} is still there")
    return Check("everything is withdrawn, nothing is left", problems)


def summary(journal: Journal) -> list[str]:
    """What the rounds came to, in lines."""
    states = [tap.state for tap in journal.taps]
    bets = [tap.bet for tap in journal.taps if tap.bet is not None]
    staked_micros = sum(bet.stake_micros for bet in bets if bet.status in RESOLVED)
    returned_micros = sum(
        bet.stake_micros if bet.status == "void" else bet.payout_micros or 0
        for bet in bets
        if bet.status in RESOLVED
    )
    counts = {name: states.count(name) for name in (*RESOLVED, "rejected")}
    refused = sum(1 for tap in journal.taps if tap.refused)
    lines = [
        f"confirmed {sum(counts[name] for name in RESOLVED)}, rejected {counts['rejected']}, "
        f"refused {refused}: won {counts['won']}, lost {counts['lost']}, void {counts['void']}",
        f"staked {format_usdc(staked_micros)}, returned {format_usdc(returned_micros)}",
    ]
    for name, values in (
        ("tap to 202", known(tap.accepted_ms for tap in journal.taps)),
        ("tap to confirmed", known(tap.confirmed_ms for tap in journal.taps)),
    ):
        p50, p95 = percentile(values, 50), percentile(values, 95)
        if p50 is not None and p95 is not None:
            lines.append(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    return lines
