"""Who operates the platform: how they get in, what they may do, and the pages they do it on."""
