"""From a file to RLlib configs."""
