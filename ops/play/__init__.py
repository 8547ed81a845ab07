"""A trader you can watch: plays rounds through the client, then proves that its ledger adds up.

Knows the platform only from outside; it may be on another machine. No Django, no database.
"""
