"""Pure functions on tensors: advantages, losses, reductions, divergences. No config, logger or device."""
