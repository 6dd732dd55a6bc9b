"""Configuration files: reading, layering, overriding, and explaining errors."""
