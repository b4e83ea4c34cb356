"""Files of results: writes and reads each format."""
