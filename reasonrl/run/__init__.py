"""A training run around the loop: its parts, its directory, its observers."""
