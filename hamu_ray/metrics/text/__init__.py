"""Metrics of language models: answer tokens, memorization, generated answers, membership, TOFU's."""
