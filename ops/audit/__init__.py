"""The audit log's own upkeep: what other places kept meanwhile comes in, what is too old goes."""
