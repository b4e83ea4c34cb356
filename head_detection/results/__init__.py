"""What a run found, as files: each format written and read."""
