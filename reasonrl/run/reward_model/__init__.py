"""Runs that train a reward model: their data, one attempt at training, alarms, plan, and what is said at the end."""
