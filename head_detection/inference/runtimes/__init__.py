"""What multiplies: a detector's network as PyTorch and other libraries run it."""
