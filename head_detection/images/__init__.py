"""Pictures themselves: found on disk, read, drawn on."""
