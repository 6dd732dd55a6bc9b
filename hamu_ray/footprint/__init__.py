"""What a configuration alone says of a run, without weights: the memory of its workers, and its model's layers."""
