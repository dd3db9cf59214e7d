"""HTTP: health, metrics and documents, and the refusal of all other paths."""
