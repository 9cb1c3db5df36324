"""Reward models: their data, how a text becomes their tokens, how they learn and score, and what is known of them."""
