"""Training: from labelled pictures to weights, on one process or several."""
