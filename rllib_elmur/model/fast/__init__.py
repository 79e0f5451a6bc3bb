"""The equations of `model/equations.py` in less time: for training, and for acting step by step."""
