"""Commands: each file parses its arguments, builds, calls, and reports."""
