"""HAMU: the weightings, the split of the constraint over blocks, the target, and the trust region."""
