"""Memory that the workers of a run need, computed from its configuration: no weights are loaded."""
