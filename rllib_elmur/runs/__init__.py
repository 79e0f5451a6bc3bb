"""Trains with Ray Tune, and evaluates checkpoints."""
