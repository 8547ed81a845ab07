"""History leaves the database: a stretch of it, from one seal to another, becomes a segment.

cut -> written -> uploaded -> verified -> pruned, each step on record before the next begins, so
that a run which ends anywhere is gone on with by the next one. Nothing is removed before the
stored copy was read back and compared. docs/runbooks/archive.md tells it in full.
"""
