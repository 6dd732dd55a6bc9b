"""The task of Python objects: an own model, map-style datasets, an own loss and metrics."""
