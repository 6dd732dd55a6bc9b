"""The search of a sweep: the algorithm, the searcher of Tune, its log, and warm starts."""
