"""From a source to results: the one loop."""
