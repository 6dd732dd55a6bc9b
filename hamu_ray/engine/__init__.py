"""The loop from paired gradients to an unlearned model: steps, evaluations, stop rules, checkpoints."""
