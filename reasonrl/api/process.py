"""What a run changes in the process that trains it, put back at its end."""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.settings import RunConfig
from reasonrl.distributed.environment import forget_launch, launch
from reasonrl.distributed.processes import group_of_one, is_launched, launched_rank, require_processes
from reasonrl.distributed.watch import last_word
from reasonrl.errors import ConfigError


@contextmanager
def run_in_this_process(config: AnyConfig) -> Iterator[None]:
    """Train a run in the body, and leave random generators and the environment as they were.

    Where ``reasonrl train`` was launched in several processes, the others follow this one.

    Raises:
        ConfigError: the run is for several processes, or this one is not the first of those that were launched.
        RankLostError: one of the others died, failed or was silent.
    """
    if launched_rank():
        raise ConfigError(
            f"{launch().num_ranks} processes were launched, and each of them calls this function: start such a run "
            "with reasonrl train, which shares it out among them."
        )
    before = dict(os.environ)
    try:
        with generators_kept(), _joined(config):
            yield
    finally:
        os.environ.update({name: value for name, value in before.items() if name not in os.environ})


def generators_kept() -> AbstractContextManager[None]:
    """Leave all random generators as they were.

    Those of torch only where it is imported already: else nobody has drawn from them, and a mistake in the settings is
    told before the import, which takes seconds.
    """
    if "torch" not in sys.modules:
        return _python_and_numpy_kept()
    from reasonrl.learner.rng import preserved_rng

    return preserved_rng()


@contextmanager
def _python_and_numpy_kept() -> Iterator[None]:
    import numpy as np

    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def _joined(config: AnyConfig) -> Iterator[None]:
    if not isinstance(config, RunConfig):
        yield
        return
    parallel = config.learner.parallel
    require_processes(parallel, None, found=launch().num_ranks)
    if not is_launched():
        forget_launch()
        with group_of_one(config.model.device) if parallel.strategy == "fsdp2" else nullcontext():
            yield
        return
    from reasonrl.run.ranks import joined

    try:
        with joined(parallel, config.model.device):
            yield
    except BaseException as error:
        if (cause := last_word(error)) is error:
            raise
        raise cause from None
