"""Labelled pictures: reading, checking, changing and batching them."""
