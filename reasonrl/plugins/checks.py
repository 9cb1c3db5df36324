"""What a plugin's function must return; each check returns the value, or says what is wrong with it.

Tensors are checked by their own methods, so that this needs no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutine
from numbers import Real
from typing import Any, Final

from reasonrl.errors import PluginError
from reasonrl.plugins.types import Measurement, Suite, Template, Tracker
from reasonrl.types import Problem


def require_offers(value: Any) -> Mapping[str, Any]:
    """Refuse what is no mapping by names that a run file can use. Any: whatever a hook returned."""
    if iscoroutine(value):
        value.close()
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise PluginError(f"a hook returned {_kind(value)}; it returns a mapping by name.")
    if unusable := [name for name in value if ":" in name or name != name.strip() or not name]:
        raise PluginError(f"a hook offers {unusable[0]!r}, which no run file can name: leave out ':' and outer spaces.")
    return value


def require_problems(value: Any, where: str) -> Sequence[Problem]:
    """Refuse what is no sequence of problems. Any: whatever a task returned."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise PluginError(f"{where}: returned {_kind(value)}; a task returns a list of Problem.")
    if strange := [item for item in value if not isinstance(item, Problem)]:
        raise PluginError(f"{where}: returned a list with {_kind(strange[0])} in it; a task returns a list of Problem.")
    return value


def require_suite(value: Any, where: str) -> Suite:
    """Refuse what is no suite, or one that cannot be measured. Any: whatever a suite function returned."""
    if not isinstance(value, Suite):
        raise PluginError(f"{where}: returned {_kind(value)}; a suite function returns a Suite.")
    require_problems(value.problems, f"{where}: problems")
    for name, kind in (("name", str), ("template", str), ("max_new_tokens", int), ("num_samples", int)):
        if not isinstance(given := getattr(value, name), kind) or not given:
            raise PluginError(f"{where}: returned a Suite whose {name} is {given!r}.")
    if not callable(value.metric):
        raise PluginError(f"{where}: returned a Suite whose metric is {_kind(value.metric)}, not a function.")
    _require_further(value, where)
    return value


def _require_further(suite: Suite, where: str) -> None:
    """Refuse further metrics and variants of a suite that could not be measured."""
    metrics = suite.further_metrics
    if not isinstance(metrics, Mapping) or not all(name and isinstance(name, str) for name in metrics):
        raise PluginError(f"{where}: returned a Suite whose further_metrics are no functions by name.")
    if strange := [name for name, metric in metrics.items() if not callable(metric)]:
        raise PluginError(f"{where}: returned a Suite whose further metric {strange[0]!r} is no function.")
    if isinstance(suite.variants, str) or not all(name and isinstance(name, str) for name in suite.variants):
        raise PluginError(f"{where}: returned a Suite whose variants are no names of templates.")


def require_measurement(value: Any) -> Measurement:
    """Refuse what is no measurement between 0 and 1. Any: whatever a metric returned."""
    if not isinstance(value, Measurement):
        raise PluginError(f"returned {_kind(value)}, where a metric returns a Measurement")
    if not isinstance(value.value, Real) or not 0 <= value.value <= 1:
        raise PluginError(f"measured {value.value!r}, which is not between 0 and 1")
    if not isinstance(value.parsed, str | None):
        raise PluginError(f"parsed {_kind(value.parsed)}, where what was parsed is text, or None")
    return value


def require_advantages(
    value: Any, where: str, *, rewards_PG: Any, lengths_PG: Any = None, values_PGT: Any = None
) -> Any:
    """Refuse advantages that are not one finite number a completion, or one a token.

    An estimator that was given a critic's values returns beside them what those should have been. Any: tensors.
    """
    if values_PGT is None:
        return _require_advantages(value, where, rewards_PG, lengths_PG)
    if not isinstance(value, tuple) or len(value) != 2:
        raise PluginError(
            f"{where}: returned {_kind(value)}; an estimator that names values_PGT returns two tensors: advantages, "
            "and what the values should have been."
        )
    _require_advantages(value[0], where, rewards_PG, lengths_PG)
    _require_tensor(value[1], "an advantage estimator", where)
    if value[1].shape != values_PGT.shape:
        raise PluginError(
            f"{where}: returned shape {list(value[1].shape)} as what the values should have been, which have shape "
            f"{list(values_PGT.shape)}."
        )
    if not value[1].isfinite().all():
        raise PluginError(f"{where}: returned something that is not finite as what the values should have been.")
    return value


def _require_advantages(value: Any, where: str, rewards_PG: Any, lengths_PG: Any) -> Any:
    """Refuse advantages that are not one finite number a completion, or one a token. Any: tensors."""
    _require_tensor(value, "an advantage estimator", where)
    if value.ndim not in (2, 3) or value.shape[:2] != rewards_PG.shape:
        raise PluginError(
            f"{where}: returned shape {list(value.shape)}; for rewards of shape {list(rewards_PG.shape)} advantages "
            f"have that shape, or one more dimension for tokens."
        )
    if value.ndim == 3 and lengths_PG is not None and value.shape[2] != lengths_PG.max():
        raise PluginError(
            f"{where}: returned {value.shape[2]} advantages a completion, but the longest one has {lengths_PG.max()} "
            "tokens; shorter ones are filled up with 0."
        )
    if not value.isfinite().all():
        raise PluginError(
            f"{where}: returned an advantage that is not finite; a completion without a score (NaN) gets 0."
        )
    return value


def require_losses(value: Any, where: str, *, logprobs_M: Any) -> Any:
    """Refuse losses that are not one number a token, or that nothing can be learned from. Any: tensors."""
    _require_tensor(value, "a loss", where)
    if value.shape != logprobs_M.shape:
        raise PluginError(
            f"{where}: returned shape {list(value.shape)} for {len(logprobs_M)} tokens; a loss returns one number a "
            "token and leaves averages to algorithm.reduction."
        )
    if logprobs_M.requires_grad and not value.requires_grad:
        raise PluginError(f"{where}: returned losses without a gradient; they must be made of logprobs_M, undetached.")
    return value


def require_engine(value: Any, where: str) -> Any:
    """Refuse what lacks something that every engine has. Any: an engine needs torch."""
    methods = ("generate", "abort", "sleep", "load_weights", "close")
    missing = [name for name in methods if not callable(getattr(value, name, None))]
    fields = ("policy_version", "shares_weights", "loads_while_sampling")
    missing += [name for name in fields if not hasattr(value, name)]
    if missing:
        raise PluginError(
            f"{where}: returned {_kind(value)}, which has no {missing[0]!r}; see reasonrl.engines.Engine."
        )
    return value


def require_nothing(value: Any, where: str) -> None:
    """Refuse a coroutine, which nobody awaits; any other value of an observer is ignored. Any: whatever it returned."""
    if iscoroutine(value):
        value.close()
        raise PluginError(f"{where}: is an async function, and nobody awaits it; write an ordinary one.")


def require_tracker(value: Any, where: str) -> Tracker:
    """Refuse what cannot be told of a run. Any: whatever a tracker's function returned."""
    methods = ("log", "table", "alarm", "close")
    missing = [name for name in methods if not callable(getattr(value, name, None))]
    missing += [] if isinstance(getattr(value, "where", None), str) else ["where"]
    if missing:
        raise PluginError(f"{where}: returned {_kind(value)}, which has no {missing[0]!r}; see reasonrl.Tracker.")
    tracker: Tracker = value
    return tracker


def require_template(value: Any, where: str) -> Template:
    """Refuse what is no template. Any: whatever a hook offered."""
    if not isinstance(value, Template) or not isinstance(value.text, str) or not value.text.strip():
        raise PluginError(f"{where}: is {_kind(value)}; a template is a reasonrl.Template with a text.")
    if value.system and not value.chat:
        raise PluginError(f"{where}: has a system message, which only a chat has; set chat=True.")
    return value


def _require_tensor(value: Any, kind: str, where: str) -> None:
    """Refuse what is no tensor. Any: whatever a function returned."""
    if not (hasattr(value, "requires_grad") and hasattr(value, "shape")):
        raise PluginError(f"{where}: returned {_kind(value)}; {kind} returns a tensor.")


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__}"


RESULTS: Final[Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]]] = {
    "tasks": (require_problems, ()),
    "suites": (require_suite, ()),
    "advantages": (require_advantages, ("rewards_PG", "lengths_PG", "values_PGT")),
    "losses": (require_losses, ("logprobs_M",)),
    "engines": (require_engine, ()),
    "observers": (require_nothing, ()),
    "trackers": (require_tracker, ()),
}
"""The check of each kind's result, and which of the arguments it compares the result with. Any: results."""
