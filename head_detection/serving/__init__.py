"""Heads over HTTP: requests meet in batches, within limits; a page for people."""
