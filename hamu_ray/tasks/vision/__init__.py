"""The vision task: image data, forget sets, classifiers and their metrics."""
