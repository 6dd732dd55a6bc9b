"""What a model, data and a machine are, and the search space that fits them."""
