"""Problems in: readers, prompts, the built-in problem set."""
