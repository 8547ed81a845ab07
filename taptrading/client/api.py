"""Every REST resource of the contract, typed, for traders, load tests and tests.

One Client is one trader's session; it may be shared between threads. Raises the errors of
`taptrading.client.errors` and no others.
"""

from collections.abc import Iterator
from datetime import datetime

from taptrading.client.base import list_params
from taptrading.client.bets_api import BetsApi
from taptrading.client.shapes import Grid, Price, PriceBar, Settlement
from taptrading.client.wallet_api import WalletApi


class Client(WalletApi, BetsApi):
    """A trader's view of one platform. `options` are those of `Transport`."""

    def price(self) -> Price:
        return self._get(Price, "price")

    def prices(
        self,
        *,
        step_s: int,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 200,
    ) -> Iterator[PriceBar]:
        """Steps that begin in [start, end), newest first, page by page."""
        params = list_params(limit=limit, start=start, end=end)
        return self._pages(PriceBar, "prices", params | {"step_s": step_s})

    def grid(self) -> Grid:
        return self._get(Grid, "grid")

    def settlement(self, column_start: int) -> Settlement:
        return self._get(Settlement, f"settlements/{column_start}")
