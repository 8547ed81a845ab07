"""What a trader who follows their bets has to know: one consistent read of one wallet."""

from typing import Any, Final, NamedTuple

from django.db.models import QuerySet

from bets.models import Bet
from bets.wire import bet_json
from taptrading import clock
from taptrading.limits import LIMITS
from wallet.ids import first_id_at
from wallet.models import Wallet

_OPEN: Final = (Bet.Status.ACCEPTED, Bet.Status.CONFIRMED)
_TRIES: Final = 5
# A bet is decided this long after its acceptance at the latest, unless the worker is down: its
# column is on the grid then, and is decided this long after its end.
_OPEN_S: Final = (
    LIMITS.columns * LIMITS.column_s + LIMITS.recording_patience_ms // 1_000 + 2 * LIMITS.column_s
)
_MISSED_SEARCH: Final = 5 * LIMITS.snapshot_bets


class _State(NamedTuple):
    balance_micros: int
    open_stake_micros: int
    cursor: int


def snapshot(wallet_id: int, since: int | None) -> dict[str, Any]:
    """`snapshot` of the contract: open bets, and those decided after the cursor `since`.

    Each list holds the newest `snapshot_bets` at most; the rest is to be had from GET bets.
    """
    for _ in range(_TRIES):
        state = _state(wallet_id)
        found = {
            "balance_micros": state.balance_micros,
            "open": [bet_json(bet) for bet in _open(wallet_id, state)],
            "missed": [] if since is None else [bet_json(b) for b in _missed(wallet_id, since)],
            "cursor": state.cursor,
        }
        if _state(wallet_id).cursor == state.cursor:
            break
        # The wallet changed in between. After some tries the older cursor will do: what changed
        # after it comes once more as an event.
    return found


def _state(wallet_id: int) -> _State:
    fields = Wallet.objects.values_list("balance_micros", "open_stake_micros", "cursor")
    return _State(*fields.get(pk=wallet_id))


def _open(wallet_id: int, state: _State) -> list[Bet]:
    if state.open_stake_micros == 0:
        return []
    every = Bet.objects.filter(wallet_id=wallet_id, status__in=_OPEN)
    # Without a walk through the wallet's history: its recent bets, by their ids.
    recent = _newest(every.filter(id__gte=first_id_at(clock.now_us() - _OPEN_S * clock.US_PER_S)))
    if sum(bet.stake_micros for bet in recent) >= state.open_stake_micros:
        return recent
    return _newest(every)


def _newest(bets: QuerySet[Bet]) -> list[Bet]:
    return sorted(bets, key=lambda bet: -bet.id)[: LIMITS.snapshot_bets]


def _missed(wallet_id: int, since: int) -> list[Bet]:
    """Searched for in the newest bets only: an old cursor must not cost a walk through all."""
    newest = Bet.objects.filter(wallet_id=wallet_id).order_by("-id")
    rows = newest.values_list("id", "cursor", "status")[:_MISSED_SEARCH]
    ids = [id for id, cursor, status in rows if cursor > since and status not in _OPEN]
    return list(newest.filter(id__in=ids[: LIMITS.snapshot_bets]))
