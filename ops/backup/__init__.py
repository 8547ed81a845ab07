"""Copies of the databases, kept where a lost disk does not take them; and the way back.

A backup is a consistent copy of the ledger and, taken after it, of the recorded prices: every
tick that the ledger speaks of is there. Both are compressed, stored and read back; the manifest,
stored last, makes it one. docs/runbooks/backup-restore.md tells what to do with it.
"""
