"""The sections of a task: its data, forget set and model."""
