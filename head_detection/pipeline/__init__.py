"""Takes pictures and frames from a source to results, in one loop."""
