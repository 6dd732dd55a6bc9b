"""HAMU: the weightings, how the constraint is split over blocks, the target and the trust region."""
