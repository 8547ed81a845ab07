"""Every REST resource of the contract, typed, for traders, load tests and tests.

One Client is one trader's session; it may be shared between threads. Raises the errors of
`taptrading.client.errors` and no others.
"""

from datetime import datetime

from taptrading.client.base import rfc3339
from taptrading.client.bets_api import BetsApi
from taptrading.client.shapes import Grid, Price, PriceBar, Settlement
from taptrading.client.wallet_api import WalletApi


class Client(WalletApi, BetsApi):
    """A trader's view of one platform. `options` are those of `Transport`."""

    def price(self) -> Price:
        return self._get(Price, "price")

    def prices(self, start: datetime, end: datetime, step_s: int) -> list[PriceBar]:
        params: dict[str, str | int] = {
            "from": rfc3339(start),
            "to": rfc3339(end),
            "step_s": step_s,
        }
        return self._get(list[PriceBar], "prices", params)

    def grid(self) -> Grid:
        return self._get(Grid, "grid")

    def settlement(self, column_start: int) -> Settlement:
        return self._get(Settlement, f"settlements/{column_start}")
