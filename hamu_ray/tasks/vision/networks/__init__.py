"""The built-in networks of the vision task."""
