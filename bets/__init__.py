"""The game: grid, rates, signed bets, pricing, resolution and settlement."""
