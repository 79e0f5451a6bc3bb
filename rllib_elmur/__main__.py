"""`python -m rllib_elmur`: the same commands as `rllib`."""

from rllib_elmur.cli.verbs import main

if __name__ == "__main__":
    main()
