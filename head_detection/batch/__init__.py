"""Batch jobs: lists millions of pictures, splits them into shards, runs them locally or on Ray."""
