"""The loop that turns paired gradients into an unlearned model: steps, evaluations, stop rules, checkpoints."""
