"""Finds pictures on disk, reads them and draws on them."""
