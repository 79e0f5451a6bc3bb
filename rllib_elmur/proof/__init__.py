"""What a policy with a rounded memory does in every episode, decided."""
