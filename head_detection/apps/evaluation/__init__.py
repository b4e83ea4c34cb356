"""Parts of ``evaluate``: predictions, result, table, metrics file, comparison, worst pictures."""
