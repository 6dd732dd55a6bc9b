"""Progress and tables at the terminal."""
