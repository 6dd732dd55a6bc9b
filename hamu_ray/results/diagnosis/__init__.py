"""Verification of the files that a sweep leaves: what is damaged, what that means, and setting it aside."""
