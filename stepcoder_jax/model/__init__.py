"""The language model: one Linen decoder, its critic, and weights and tokenizers in and out."""
