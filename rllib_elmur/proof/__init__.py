"""Decides what a policy with a rounded memory does in every episode, however long."""

MAX_STATES = 20_000
"""The search of a certificate ends undecided with more states than this, if not told otherwise."""
