"""Configuration files: reading, layering, overriding, and explaining what is wrong in them."""
