"""Pipelines: stages in order, each run by its own command, gone on with where they were stopped, and compared."""
