"""Training and playing."""
