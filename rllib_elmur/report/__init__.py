"""Pictures of what a policy remembers."""

SEGMENTS = 10_000
"""Segments over which a report follows two hints, if not told otherwise."""
