"""The quality of data sets: problems of files and boxes, near-duplicates, statistics, report."""
