"""Experiment trackers: each runs in a process of its own, so that nothing that one does can stop or slow a run."""
