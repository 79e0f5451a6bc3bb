"""Reads experiments from YAML and Python files, and makes RLlib configs of them."""
