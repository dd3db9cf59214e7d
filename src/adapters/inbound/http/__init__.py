"""The HTTP side: health, metrics and documents, and the refusal of all other paths."""
