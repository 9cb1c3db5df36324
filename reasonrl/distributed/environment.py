"""What a launcher tells a process of the others: torchrun, ``accelerate launch``, mpirun and ``--processes`` alike."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from reasonrl.errors import ConfigError

RANK: Final = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
NUM_RANKS: Final = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LOCAL_RANK: Final = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")
LOCAL_NUM_RANKS: Final = (
    "LOCAL_WORLD_SIZE",
    "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_LOCAL_SIZE",
)
"""Variables by precedence, those that accelerate reads: torch's own, then those of Intel MPI, Open MPI and MVAPICH."""

FORGOTTEN: Final = ("TORCHELASTIC_", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_", "ACCELERATE_", "FSDP_")
"""How further variables begin that only this process is meant to read."""

MASTER_PORT: Final = 29500
"""Where rank 0 is found when the launcher names no port, as with torch and accelerate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Which of how many processes this one is."""

    rank: int
    num_ranks: int
    local_rank: int
    """Its number on its machine."""
    local_num_ranks: int
    """Processes on its machine."""
    address: str
    """Host of rank 0."""
    port: int
    """Where on that host the ranks meet."""

    @property
    def is_near(self) -> bool:
        """Whether it is on the machine of rank 0: launchers number the processes of a machine in sequence."""
        return self.rank < self.local_num_ranks

    @property
    def variables(self) -> dict[str, str]:
        """What torchrun would have said."""
        numbers = (self.rank, self.num_ranks, self.local_rank, self.local_num_ranks)
        names = (RANK, NUM_RANKS, LOCAL_RANK, LOCAL_NUM_RANKS)
        return {of_torch: str(number) for (of_torch, *_), number in zip(names, numbers, strict=True)}

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Launch":
        """Return what an environment says; a process that nobody launched is rank 0 of 1.

        Raises:
            ConfigError: what it says is incomplete.
        """
        num_ranks = _number(environ, NUM_RANKS, 1)
        if num_ranks == 1:
            return cls(rank=0, num_ranks=1, local_rank=0, local_num_ranks=1, address="", port=0)
        local_num_ranks = _number(environ, LOCAL_NUM_RANKS, 1)
        is_one_machine = local_num_ranks == num_ranks
        return cls(
            rank=_number(environ, RANK),
            num_ranks=num_ranks,
            local_rank=_number(environ, LOCAL_RANK, 0),
            local_num_ranks=local_num_ranks,
            address=environ.get("MASTER_ADDR") or _address(num_ranks, is_one_machine),
            port=_number(environ, ("MASTER_PORT",), MASTER_PORT),
        )


@cache
def launch() -> Launch:
    """Return which of how many processes this one is, as its environment said when it was first asked."""
    return Launch.read(os.environ)


def forget_launch() -> None:
    """Take the launcher's variables out of the environment, once this process is told who it is.

    A vLLM server, or a program that a reward starts, would take itself for a rank of this run, and wait for the others;
    transformers would load nothing on ranks but 0, for accelerate's FSDP to fill in.
    """
    launch()
    names = {*RANK, *NUM_RANKS, *LOCAL_RANK, *LOCAL_NUM_RANKS, "MASTER_ADDR", "MASTER_PORT"}
    for name in list(os.environ):
        if name in names or name.startswith(FORGOTTEN):
            del os.environ[name]


def _number(environ: Mapping[str, str], names: Sequence[str], default: int | None = None) -> int:
    """Return the first number that is there."""
    for name in names:
        if (text := environ.get(name, "")).isdigit():
            return int(text)
    if default is None:
        raise ConfigError(
            f"the environment says that there are several processes, but not which one this is ({names[0]}): start "
            "them with torchrun, accelerate launch, or reasonrl train --processes N."
        )
    return default


def _address(num_ranks: int, is_one_machine: bool) -> str:
    if is_one_machine:
        return "127.0.0.1"
    raise ConfigError(
        f"{num_ranks} processes on several machines cannot find one another: set MASTER_ADDR to the host of rank 0, "
        "and MASTER_PORT to a free port there."
    )
