"""The quality of data sets: what is wrong with files and boxes, copies, statistics, the report."""
