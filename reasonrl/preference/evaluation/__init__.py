"""Judge a reward model: accuracy beside length alone, calibration, perturbations, best-of-n, RewardBench, a report."""
