"""Pictures of what a policy remembers."""

SEGMENTS = 10_000
"""Segments over which a report follows two hints, if not told otherwise."""

LENGTH = "corridor_length"
"""The option of a maze that a report sweeps."""
