"""The front as pictures and tables, and the report page."""
