"""Generation: prefill, decode steps with a KV cache, and the host loop that runs them."""
