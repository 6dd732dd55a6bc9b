"""Computing the retain and the forget gradient, in one process or on several workers with roles and collectives."""
