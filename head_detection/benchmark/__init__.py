"""What ``benchmark`` does: its contestants, clocks, measurements and report."""
