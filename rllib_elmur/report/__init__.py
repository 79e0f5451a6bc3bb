"""Pictures of what a policy remembers."""
