"""Millions of pictures: listed, cut into shards, worked through by processes or a Ray cluster."""
