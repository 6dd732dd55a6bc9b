"""What a configuration alone says of a run, without weights: its memory, work and time, and its model's layers."""
