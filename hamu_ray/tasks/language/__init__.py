"""The language task: text, forget sets, language models and their measures."""
