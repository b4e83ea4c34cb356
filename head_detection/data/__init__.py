"""Labelled pictures: reading, checking, augmenting and batching them."""
