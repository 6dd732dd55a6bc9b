"""One validated schema for a run and for a sweep, and the files that hold them."""
