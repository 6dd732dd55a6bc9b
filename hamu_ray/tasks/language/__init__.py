"""The language task: unlearning of text in causal language models."""
