"""The health of data sets: what is wrong with the files and boxes, copies, figures, drawings."""
