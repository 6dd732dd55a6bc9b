"""The language task: causal language models that are to forget some of the texts that they learned."""
