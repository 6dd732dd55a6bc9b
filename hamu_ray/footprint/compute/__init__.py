"""What a run computes, and how long that takes at least on a GPU."""
