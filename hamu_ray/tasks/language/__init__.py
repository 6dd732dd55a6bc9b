"""The language task: causal language models unlearn some of the texts that they learned."""
