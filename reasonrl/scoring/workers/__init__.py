"""Worker processes for rewards and metrics: forked from a warm parent, killed at a deadline."""
