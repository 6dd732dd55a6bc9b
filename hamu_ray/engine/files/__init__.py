"""Files of runs and base models: tensors, checkpoints, the store of base models, a run's folder and its model card."""
