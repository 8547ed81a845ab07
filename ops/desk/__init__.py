"""Where operators work: what the platform does, what to do about it, and where money went."""
