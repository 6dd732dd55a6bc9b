"""How a pair of gradients comes about: one process in turn, or workers with roles and collectives."""
