"""Price in: exchange messages -> index ticks, and the breaker over them."""
