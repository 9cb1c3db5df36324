"""Sample a run's policy without training it: completions with their scores, from any engine.

Problems stand in the order in which the run would train on them, and are sampled a fixed part at a time. A part is a
function of the settings, so that it can be sampled again alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from reasonrl.config.find import find_run
from reasonrl.config.settings import AlarmSettings, AlgorithmSettings, EvaluationSettings, RunConfig, RunTask
from reasonrl.engines.endpoint.address import api_url
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Measurement, Suite
from reasonrl.preference.samples import SampleRow
from reasonrl.run.check import check_model
from reasonrl.run.checkpoints import checkpoint_of
from reasonrl.run.evaluation_source import is_url
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.inputs import HELDOUT_SEED, RunInputs, load_inputs
from reasonrl.run.lineage import resolve_model
from reasonrl.run.tasks import TaskProblems, in_order, load_tasks, problem_order
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.applying import TaskRewards
from reasonrl.types import Problem, Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from reasonrl.rollout.sampler import RolloutSampler

OF_REWARDS: Final = frozenset(("name", "params", "label", "weight", "gate", "gate_at_least", "style", "timeout_value"))
"""Settings of rewards that decide scores."""
DECISIVE: Final[Mapping[str, Any]] = {
    "seed": True,
    "model": {"name", "compute_dtype", "lora"},
    "task": True,
    "template": True,
    "rollout": {"engine", "prompts_per_step", "samples_per_prompt", "max_new_tokens", "temperature", "stop"},
    "vllm": {"dtype"},
    "rewards": {"__all__": OF_REWARDS},
}
"""Settings that decide rows; a file is continued under the same ones only. Any: a selection as pydantic takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """What to sample of which run."""

    config: RunConfig
    split: Split = "train"
    num_problems: int | None = None
    """None takes all problems of the split."""
    num_samples: int | None = None
    """Completions of each problem; None is the run's ``samples_per_prompt``."""
    endpoint: str | None = None
    """Address of an endpoint that serves the model; None samples with the run's engine."""

    @property
    def samples_per_problem(self) -> int:
        """Completions of each problem."""
        return self.num_samples or self.config.rollout.samples_per_prompt

    def settings(self) -> dict[str, Any]:
        """Return everything that decides a row. Any: JSON values."""
        chosen = self.config.model_dump(mode="json", include=DECISIVE)
        for task in chosen["task"] if isinstance(chosen["task"], list) else ():
            of_task = task["rewards"] and [{key: reward[key] for key in OF_REWARDS} for reward in task["rewards"]]
            task["rewards"] = of_task
        of_endpoint = {} if self.endpoint is None else {"endpoint": self.endpoint}
        return {**chosen, **of_endpoint, "split": self.split, "num_samples": self.samples_per_problem}

    def resolved(self, plugins: Plugins) -> Self:
        """Return the request with the exact place of its model.

        Raises:
            ReasonRLError: the model is a run's that has no such checkpoint, or it was trained with another template.
        """
        return replace(self, config=resolve_model(self.config, plugins))


def sampled_run(name: str) -> tuple[Path, list[str]]:
    """Return the run file that a user names, and the setting of its model where a run's trained one is meant.

    Args:
        name: a recipe's name, a run file, or a run of ``reasonrl train`` as its directory or ``RUN@STEP``.

    Raises:
        RunError: the run has no such checkpoint.
        ConfigError: it trains something else.
        PluginError: there is no such recipe.
    """
    if (trained := checkpoint_of(name)) == name:
        return find_run(name, "policy"), []
    directory = RunDirectory.open(Path(name if Path(name).is_dir() else name.rpartition("@")[0]))
    if directory.kind.name != "policy":
        raise ConfigError(
            f"{directory.path} trains {directory.kind.trains} on rows, so that it has no task to sample: name a recipe "
            f"or run file with one, and the model beside it: reasonrl sample RUN.yaml model.name={name}"
        )
    return directory.path / "config.resolved.yaml", [f"model.name={trained}"]


def engine_settings(engine: str | None) -> tuple[str | None, list[str]]:
    """Return the address of an endpoint, if that is what was named, and the settings of any other engine.

    Raises:
        ConfigError: it looks like an address and is none.
    """
    if engine is None:
        return None, []
    if not is_url(engine):
        return None, [f"rollout.engine={engine}"]
    api_url(engine)
    return engine, []


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySampler:
    """A policy, ready to be sampled."""

    sampler: "RolloutSampler"
    problems: Sequence[Problem]
    """Those to sample, in order; no two of one id."""
    tokenizer: "PreTrainedTokenizerBase | None"
    """None at an endpoint, which makes tokens of texts by itself."""

    @property
    def part_size(self) -> int:
        """Problems that are sampled at once."""
        return self.sampler.prompts_per_step

    @property
    def rows_per_part(self) -> int:
        """Rows of a part, but perhaps the last."""
        return self.part_size * self.sampler.samples_per_prompt

    def num_rows(self) -> int:
        """Return how many rows there are in all."""
        return len(self.problems) * self.sampler.samples_per_prompt

    def part(self, number: int) -> list[SampleRow]:
        """Sample and score the problems of a part; the first is 0."""
        problems = self.problems[number * self.part_size : (number + 1) * self.part_size]
        return [
            SampleRow.of(group, trajectory, result)
            for group, results in self.sampler.sample_and_score(0, problems).scored
            for trajectory, result in zip(group.trajectories, results, strict=True)
        ]

    def rows(self, done: int = 0) -> Iterator[list[SampleRow]]:
        """Yield the rows after the first ``done`` ones, a part at a time."""
        first, over = divmod(done, self.rows_per_part)
        for number in range(first, -(-len(self.problems) // self.part_size)):
            yield self.part(number)[over if number == first else 0 :]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleInputs:
    """A request with everything that needs no model."""

    request: SampleRequest
    """With the exact place of its model."""
    config: RunConfig
    """The run as far as sampling needs it."""
    inputs: RunInputs
    """Rewards, and the problems to sample in their order."""

    @property
    def num_rows(self) -> int:
        """Completions in all."""
        return len(self.inputs.problems) * self.request.samples_per_problem


def sample_inputs(request: SampleRequest, plugins: Plugins) -> SampleInputs:
    """Load what a request needs but its model.

    Raises:
        ConfigError: there are not as many problems.
        ReasonRLError: a part of the run cannot be loaded.
    """
    found = request.resolved(plugins)
    config = _for_sampling(found)
    if found.endpoint is None:
        check_model(config)
    return SampleInputs(request=found, config=config, inputs=_inputs(config, found, plugins))


@contextmanager
def policy_sampler(request: SampleRequest, plugins: Plugins) -> Iterator[PolicySampler]:
    """Load what a request needs, and free it at the end; errors are those of :func:`sample_inputs`."""
    with opened_sampler(sample_inputs(request, plugins), plugins) as policy:
        yield policy


@contextmanager
def opened_sampler(loaded: SampleInputs, plugins: Plugins) -> Iterator[PolicySampler]:
    """Load the model, or reach its endpoint, and start the rewards; all is freed at the end.

    Raises:
        ReasonRLError: the model cannot be loaded, or the endpoint does not answer.
    """
    opened = _run_engine if loaded.request.endpoint is None else _endpoint
    with opened(loaded, plugins) as policy:
        yield policy


@contextmanager
def _run_engine(loaded: SampleInputs, plugins: Plugins) -> Iterator[PolicySampler]:
    from reasonrl.run.build import build_components

    components = build_components(loaded.config, loaded.inputs, plugins)
    samples = loaded.request.samples_per_problem
    with closing(components):
        sampler = replace(components.sampler, scorer=components.rewards, samples_per_prompt=samples)
        yield PolicySampler(sampler=sampler, problems=loaded.inputs.problems, tokenizer=components.tokenizer)


@contextmanager
def _endpoint(loaded: SampleInputs, plugins: Plugins) -> Iterator[PolicySampler]:
    from reasonrl.evaluation.endpoint import open_endpoint
    from reasonrl.rollout.environment import TaskEnvironments
    from reasonrl.rollout.groups import GroupSampler
    from reasonrl.rollout.sampler import RolloutSampler

    config, inputs, request = loaded.config, loaded.inputs, loaded.request
    assert request.endpoint is not None, "there is one"
    suites = {task.label: _as_suite(task, inputs.problems, config) for task in config.tasks}
    source = open_endpoint(config.model.name, request.endpoint, [*suites.values()], plugins=plugins)
    environments = {label: source.environment(suite, suite.template) for label, suite in suites.items()}
    is_mixture = isinstance(config.task, list)
    environment = TaskEnvironments(environments=environments) if is_mixture else next(iter(environments.values()))
    rewards = RewardScorer(inputs.rewards, config.scoring, of_tasks=TaskRewards.of_run(config))
    with closing(source), closing(rewards):
        sampler = RolloutSampler(
            order=problem_order(config, inputs.tasks),
            groups=GroupSampler(environment=environment, engine=source.engine, timeout_s=config.rollout.timeout_s),
            scorer=rewards,
            prompts_per_step=config.rollout.prompts_per_step,
            samples_per_prompt=request.samples_per_problem,
            refill_attempts=0,
            seed=config.seed,
        )
        yield PolicySampler(sampler=sampler, problems=inputs.problems, tokenizer=None)


def _as_suite(task: RunTask, problems: Sequence[Problem], config: RunConfig) -> Suite:
    """Return how a task's problems are asked, in the form that an endpoint is opened for; nothing is measured."""
    return Suite(
        name=task.label,
        problems=[problem for problem in problems if not isinstance(config.task, list) or problem.task == task.label],
        metric=lambda _: Measurement(0.0),
        template=task.template,
        max_new_tokens=task.max_new_tokens,
        temperature=config.rollout.temperature,
        stop=task.stop,
    )


def _for_sampling(request: SampleRequest) -> RunConfig:
    """Return the run without what only training and measuring need, such as a reference policy, a critic or suites."""
    config = request.config
    if not all(task.rewards for task in config.tasks):
        raise ConfigError(f"{config.name} has no rewards to score completions with: add some (rewards).")
    samples, rollout = request.samples_per_problem, config.rollout
    in_a_step = rollout.prompts_per_step * rollout.samples_per_prompt
    sampling = {
        "prompts_per_step": max(rollout.prompts_per_step, in_a_step // samples),  # completions at once, as in a step
        "samples_per_prompt": max(samples, 2),
        "async_steps": 0,
        "max_staleness": None,
    }
    return RunConfig(
        name=config.name,
        seed=config.seed,
        model=config.model,
        task=config.task,
        template=config.template,
        rewards=config.rewards,
        algorithm=AlgorithmSettings.model_validate({}),
        rollout=rollout.model_copy(update=sampling),
        vllm=config.vllm,
        scoring=config.scoring,
        evaluation=EvaluationSettings(),
        alarms=AlarmSettings(),
        plugins=config.plugins,
        run=config.run,
    )


def _inputs(config: RunConfig, request: SampleRequest, plugins: Plugins) -> RunInputs:
    """Return rewards, and the problems to sample in their order."""
    inputs = load_inputs(config, plugins)
    tasks: Sequence[TaskProblems] = inputs.tasks
    if request.split == "heldout":
        tasks = load_tasks(config, plugins, split="heldout", seed=HELDOUT_SEED)
    unlike = in_order(config, tasks)
    count = len(unlike) if request.num_problems is None else request.num_problems
    if count > len(unlike):
        named = " and ".join(repr(each.task.label) for each in tasks)
        raise ConfigError(
            f"num_problems is {count}, but task {named} has {len(unlike)} {request.split} problems that differ. Take "
            "fewer, or change the task's params."
        )
    return replace(inputs, problems=unlike[:count])
