"""The front of a sweep: what is drawn, and its drawings."""
