"""From a problem to a trajectory: prompts, environments, data order, sampling ahead."""
