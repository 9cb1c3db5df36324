"""The reward lab: what rewards say of a completion that somebody pastes, scored in processes that can be killed."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from reasonrl.config.settings import RewardRef, RunConfig, ScoringSettings
from reasonrl.errors import ConfigError, ReasonRLError, RunError, and_known
from reasonrl.evaluation.replies import rollout_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.combine import combine
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.types import Problem, Rollout, Score
from reasonrl.view.runs import RunFolder

MAX_S: Final = 60.0
"""Longest time of a call, whatever the run file allows."""

MAX_COMPLETIONS: Final = 16
MAX_REWARDS: Final = 20
MAX_TEXT: Final = 2_000_000
"""Characters of a text that is pasted."""

NO_PROMPT: Final = "(no prompt given)"
"""The prompt of a problem where none was given: a problem must have one."""

Json: TypeAlias = dict[str, Any]
"""Any: JSON values."""


class Choice(BaseModel):
    """A reward to be asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["run", "installed"]
    """Whether ``name`` is the label of a reward of the run, with its parameters, or the name of an installed one."""
    name: str = Field(max_length=200)
    params: dict[str, Any] = {}
    """Of an installed one. Any: their types are the function's."""


class LabRequest(BaseModel):
    """Completions of one problem, and who scores them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str | None = None
    step: int = Field(1, ge=0)
    """For rewards and weights that move with the step."""
    rewards: list[Choice] = Field(min_length=1, max_length=MAX_REWARDS)
    prompt: str = Field("", max_length=MAX_TEXT)
    completions: list[str] = Field(min_length=1, max_length=MAX_COMPLETIONS)
    answer: str = Field("", max_length=MAX_TEXT)
    meta: dict[str, Any] = {}
    """Further columns of the problem. Any: JSON values."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """Rewards whose worker processes run."""

    refs: tuple[RewardRef, ...]
    rewards: tuple[Reward, ...]
    caller: RewardCaller


class RewardLab:
    """Scores completions with rewards of a run and with installed ones; the processes stay for the next request.

    Args:
        folder: the runs.
        plugins: where rewards come from.
    """

    def __init__(self, folder: RunFolder, plugins: Plugins) -> None:
        self._folder, self._plugins = folder, plugins
        self._lock = Lock()
        self._ready: _Ready | None = None

    def offered(self, run: str | None) -> Json:
        """Return the rewards that can be asked.

        Raises:
            NotFoundError: there is no such run.
            ReasonRLError: it cannot be read.
        """
        of_run = [
            {
                "label": ref.key,
                "name": ref.name,
                "params": ref.params,
                "weight": ref.weight_at(1),
                "gate": ref.gate,
                "file": ":" in ref.name and not self._is_installed(ref.name),
            }
            for ref in (self._refs(run) if run else {}).values()
        ]
        return {"run": of_run, "installed": sorted(self._plugins.entries("rewards"))}

    def score(self, request: LabRequest) -> Json:
        """Return what each reward says of each completion; one that cannot be asked says why.

        Raises:
            ConfigError: a reward was not offered, or a text is too long.
            NotFoundError: there is no such run.
            RunError: other completions are being scored.
        """
        _refuse_long(request.completions)
        refs = self._chosen(request)
        if not self._lock.acquire(timeout=1.0):
            raise RunError("other completions are being scored: wait until that is done.")
        try:
            loaded, refused = self._loaded(refs)
            scores = self._scores(self._started(loaded), request) if loaded else {}
        finally:
            self._lock.release()
        verdicts = [
            {"name": key, "refused": refused[key]} if key in refused else {"name": key, **_verdict(scores[key])}
            for key in refs
        ]
        return {"rewards": verdicts, "totals": self._totals(request, scores)}

    def close(self) -> None:
        """Leave nothing running."""
        with self._lock:
            if self._ready is not None:
                self._ready.caller.close()
                self._ready = None

    def _is_installed(self, name: str) -> bool:
        return name.partition(":")[0] in self._plugins.entries("rewards")

    def _refs(self, run: str) -> dict[str, RewardRef]:
        config = self._folder.open(run).config
        return {ref.key: ref for ref in config.all_rewards} if isinstance(config, RunConfig) else {}

    def _chosen(self, request: LabRequest) -> dict[str, RewardRef]:
        """Return what is asked for, by label; a reward of the run and an installed one may have one name."""
        of_run = self._refs(request.run) if request.run else {}
        installed = self._plugins.entries("rewards")
        chosen: dict[str, RewardRef] = {}
        for choice in request.rewards:
            known: Mapping[str, object] = of_run if choice.source == "run" else installed
            if choice.name not in known:
                whose = f"run {request.run}" if choice.source == "run" else "the installed packages"
                raise ConfigError(f"{whose}: no reward {choice.name!r}.{and_known(choice.name, known)}")
            if choice.source == "run":
                chosen[choice.name] = _in_workers(of_run[choice.name])
            else:
                key = f"{choice.name} (installed)" if choice.name in of_run else choice.name
                chosen[key] = RewardRef(name=choice.name, label=key, params=choice.params)
        return chosen

    def _loaded(self, refs: Mapping[str, RewardRef]) -> tuple[dict[str, Reward], dict[str, str]]:
        """Return the rewards that can be called, and why the others cannot."""
        loaded: dict[str, Reward] = {}
        refused: dict[str, str] = {}
        for key, ref in refs.items():
            try:
                reward = load_reward(ref, self._plugins)
            except ReasonRLError as error:
                refused[key] = str(error)
                continue
            if reward.in_process:
                refused[key] = (
                    f"reward {ref.name!r} runs in the process of a training run, as a model does, where no call can be "
                    f"stopped. Ask it with: reasonrl rewards try {ref.name}"
                )
            else:
                loaded[key] = reward
        return loaded, refused

    def _started(self, loaded: Mapping[str, Reward]) -> _Ready:
        """Return the rewards with processes that run them: those of the request before where they are the same."""
        refs = tuple(reward.ref for reward in loaded.values())
        if self._ready is not None and self._ready.refs == refs:
            return self._ready
        if self._ready is not None:
            self._ready.caller.close()
            self._ready = None
        rewards = tuple(loaded.values())
        self._ready = _Ready(refs, rewards, RewardCaller(rewards, ScoringSettings(workers=2, timeout_s=10.0)))
        return self._ready

    def _scores(self, ready: _Ready, request: LabRequest) -> dict[str, list[Score]]:
        """Return one score of each reward for each completion."""
        rollouts = list(_rollouts(request))
        calls = {reward.name: list(_calls(ready.caller, reward, rollouts, request.step)) for reward in ready.rewards}
        return {name: [score for call in of_reward for score in call.result()] for name, of_reward in calls.items()}

    def _totals(self, request: LabRequest, scores: Mapping[str, Sequence[Score]]) -> list[Json] | None:
        """Return the weighted sums where all rewards of the run were asked, as training would see them."""
        refs = list(self._refs(request.run).values()) if request.run else []
        if not refs or any(ref.key not in scores for ref in refs):
            return None
        results = combine({ref.key: scores[ref.key] for ref in refs}, refs, request.step)
        return [
            {
                "value": result.total.value,
                "outcome": result.total.outcome,
                "why": result.total.why,
                "shut": list(result.shut),
                "weights": dict(result.weights),
            }
            for result in results
        ]


def _refuse_long(completions: Sequence[str]) -> None:
    if any(len(text) > MAX_TEXT for text in completions):
        raise ConfigError(f"a completion has more than {MAX_TEXT:,} characters.")


def _in_workers(ref: RewardRef) -> RewardRef:
    """Return a reward of a run file as the lab calls it: in a worker, and not for longer than a person waits."""
    timeout_s = None if ref.timeout_s is None else min(ref.timeout_s, MAX_S)
    return ref.model_copy(update={"isolated": None, "timeout_s": timeout_s})


def _rollouts(request: LabRequest) -> Iterator[Rollout]:
    prompt = request.prompt if request.prompt.strip() else NO_PROMPT
    problem = Problem(id="lab", task="lab", prompt=prompt, answer=request.answer, meta=request.meta)
    for number, text in enumerate(request.completions):
        yield rollout_of(problem, text, prompt=request.prompt, seed=number)


def _calls(
    caller: RewardCaller, reward: Reward, rollouts: Sequence[Rollout], step: int
) -> Iterator["Future[tuple[Score, ...]]"]:
    units = [[rollout] for rollout in rollouts] if reward.unit == "rollout" else [rollouts]
    return (caller.submit(reward.name, unit, step) for unit in units)


def _verdict(scores: Sequence[Score]) -> Json:
    return {
        "scores": [
            {
                "value": score.value,
                "outcome": score.outcome,
                "why": score.why,
                "parts": dict(score.parts),
                "spans": [
                    {"start": span.start, "end": span.end, "value": span.value, "why": span.why} for span in score.spans
                ],
                "run_s": score.run_s,
            }
            for score in scores
        ]
    }
