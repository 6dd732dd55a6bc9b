"""Choosing a point of a front, and confirming it with fresh seeds."""
