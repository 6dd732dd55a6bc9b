"""Hyperparameter sweeps of machine unlearning on Ray: the trade-off of forgetting and utility, with one command."""
