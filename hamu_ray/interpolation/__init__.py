"""Models between two models of the same problem: their weights, their metrics, and the search for a bound."""
