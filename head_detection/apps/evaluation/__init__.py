"""Parts of ``evaluate``: what is judged, the operating point, the table, the report."""
