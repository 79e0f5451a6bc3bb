"""Several agents in an environment: the env runner, its connector pieces, the train batch."""
