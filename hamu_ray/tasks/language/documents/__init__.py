"""The texts of a run: rows, columns, and tokens."""
