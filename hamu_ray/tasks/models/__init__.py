"""Pretrained models: checkpoints in files and on the hub, and where base models start."""
