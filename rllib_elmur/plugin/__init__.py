"""Everything that knows RLlib."""
