"""Measures of detections against labelled heads."""
