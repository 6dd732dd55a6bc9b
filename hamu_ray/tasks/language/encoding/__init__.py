"""From texts to tokens: tokenizers, chat templates, prompts with their answers."""
