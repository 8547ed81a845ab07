"""The game's handlers, wired to each other, for the writer."""

from bets.placing import PlacingHandler
from bets.pricing import PricingHandler, Unpriced
from bets.settlement import SettlementHandler
from pricefeed.board import Board
from wallet.nonces import Nonces
from wallet.writer import Handler


def game_handlers(nonces: Nonces, board: Board) -> list[Handler]:
    unpriced = Unpriced(board)
    return [
        PricingHandler(unpriced),
        PlacingHandler(nonces, board, unpriced),
        SettlementHandler(),
    ]
