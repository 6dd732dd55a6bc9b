"""Is it really gone? Attacks on unlearned models, each compared with its result on references of several seeds."""
