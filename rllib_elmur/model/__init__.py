"""The memory model in PyTorch. Nothing here imports Ray."""
