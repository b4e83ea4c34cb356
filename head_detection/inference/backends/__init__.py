"""What multiplies: the network as PyTorch and other libraries run it."""
