"""What decides a run: its settings, and the YAML they are read from."""
