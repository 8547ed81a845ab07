"""What operators use: the supervisor, health, commands."""
