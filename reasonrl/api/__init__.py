"""What the command line does, as functions for Python programs and notebooks."""
