"""Worker processes for rewards and metrics: forked from a warm parent, killed at a deadline."""

import reasonrl.scoring.workers.values  # noqa: F401  # arguments and results are pickled in its way
