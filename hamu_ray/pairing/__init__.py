"""How the two gradients come about: one process in turn, or workers with roles and collectives."""
