"""What the verbs of the command line do; each verb makes one call in here."""
