"""What the person watching sees: a live table on a terminal, plain lines anywhere else."""

from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ops.play.journal import Journal, Tap
from taptrading.money import format_usdc

_COLOURS: Final = {"won": "green", "lost": "red", "void": "yellow", "confirmed": "cyan"}
_ROWS: Final = 30


class Screen(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def say(self, text: str) -> None: ...
    def show(self, journal: Journal, changed: Tap | None = None) -> None: ...


class PlainScreen:
    """A line for each change of a bet."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, journal: Journal, changed: Tap | None = None) -> None:
        if changed is not None:
            cells = [*row(changed), f"balance {_usdc(journal.balance_micros)}"]
            self.say("  ".join(cell for cell in cells if cell))


class LiveScreen:
    """One table that changes in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._journal = Journal()
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._render, transient=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def show(self, journal: Journal, changed: Tap | None = None) -> None:
        self._journal = journal

    def _render(self) -> Group:
        journal = self._journal
        heading = Text(
            f"BTC {_usd(journal.price_cents)}   balance {_usdc(journal.balance_micros)} USDC",
            style="bold",
        )
        return Group(heading, table(journal)) if journal.taps else Group(heading)


def make_screen(console: Console) -> Screen:
    return LiveScreen(console) if console.is_terminal else PlainScreen(console)


def table(journal: Journal) -> Table:
    """The newest taps; earlier ones have scrolled out of sight."""
    made = Table(box=None, pad_edge=False)
    for name in ("#", "cell", "stake", "rate", "signed", "state", "payout", "202", "confirmed"):
        made.add_column(name, justify="right" if name in ("stake", "rate", "payout") else "left")
    for tap in journal.taps[-_ROWS:]:
        made.add_row(*row(tap), style=_COLOURS.get(tap.state))
    return made


def row(tap: Tap) -> list[str]:
    bet = tap.bet
    rate_bps = bet.rate_bps if bet is not None and bet.rate_bps is not None else tap.rate_bps
    paid = "" if bet is None or bet.payout_micros is None else format_usdc(bet.payout_micros)
    return [
        f"#{tap.number}",
        cell_text(tap.cell_id),
        format_usdc(tap.stake_micros),
        f"{rate_bps / 10_000:.4f}x",
        f"{tap.by}/{tap.via}",
        tap.state,
        paid,
        _ms(tap.accepted_ms),
        _ms(tap.confirmed_ms),
    ]


def cell_text(cell_id: str) -> str:
    """`1764000010_9500000_9501000` -> `00:10 95000-95010`: minute, second and band."""
    column_start, low_cents, high_cents = map(int, cell_id.split("_"))
    minute, second = divmod(column_start % 3_600, 60)
    return f"{minute:02d}:{second:02d} {low_cents // 100}-{high_cents // 100}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _usd(cents: int | None) -> str:
    return "-" if cents is None else f"{cents // 100}.{cents % 100:02d}"


def _usdc(micros: int | None) -> str:
    return "-" if micros is None else format_usdc(micros)
