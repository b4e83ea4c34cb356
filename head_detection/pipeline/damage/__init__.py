"""Finds what a video file lacks, by following its parts as its container lays them out."""
