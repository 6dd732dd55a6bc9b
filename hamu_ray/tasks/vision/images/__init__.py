"""The images of a run: data sets, labels, pixels, preprocessing."""
