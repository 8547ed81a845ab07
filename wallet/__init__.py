"""The money: signatures, wallets, the ledger and the one process that writes it."""
