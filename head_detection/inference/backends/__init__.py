"""Backends: the network as PyTorch and other libraries run it, in the place of PyTorch's own."""
