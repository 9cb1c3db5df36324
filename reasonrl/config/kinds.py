"""The kinds of runs: what a run file can train, and how one tells which it is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from reasonrl.config.finetune import DPORunConfig, FinetuneConfig, KTORunConfig, SFTRunConfig
from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.settings import RunConfig

KindName: TypeAlias = Literal["policy", "reward_model", "sft", "dpo", "kto"]
AnyConfig: TypeAlias = RunConfig | RewardModelConfig | FinetuneConfig
"""Settings of a run of any kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of runs."""

    name: KindName
    settings: type[RunConfig] | type[RewardModelConfig] | type[FinetuneConfig]
    """What its run files are checked against."""
    trains: str
    """What comes out, for messages: ``a policy``."""
    command: str
    """Trains, resumes and forks runs of the kind."""


KINDS: Final[Mapping[KindName, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(name="policy", settings=RunConfig, trains="a policy", command="reasonrl train"),
        Kind(name="reward_model", settings=RewardModelConfig, trains="a reward model", command="reasonrl rm train"),
        Kind(name="sft", settings=SFTRunConfig, trains="a policy by SFT", command="reasonrl sft"),
        Kind(name="dpo", settings=DPORunConfig, trains="a policy by DPO", command="reasonrl dpo"),
        Kind(name="kto", settings=KTORunConfig, trains="a policy by KTO", command="reasonrl kto"),
    )
}


def kind_of(config: AnyConfig) -> Kind:
    """Return the kind of a run."""
    return next(kind for kind in KINDS.values() if kind.settings is type(config))


def recognize(keys: Iterable[object], usual: KindName = "policy") -> Kind:
    """Return the kind that knows most of a run file's top-level keys; the usual one where several know as many."""
    given = set(keys)
    return max(
        KINDS.values(), key=lambda kind: (len(given.intersection(kind.settings.model_fields)), kind.name == usual)
    )
