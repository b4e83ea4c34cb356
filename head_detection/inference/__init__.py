"""Inference: loading pictures, running the network on them, and returning the heads."""
