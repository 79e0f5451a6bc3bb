"""A trained policy that acts: from a checkpoint with RLlib, or from a saved folder without Ray."""
