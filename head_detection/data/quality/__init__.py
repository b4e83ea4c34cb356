"""The quality of data sets: what is wrong with files and boxes, copies, figures, the report."""
