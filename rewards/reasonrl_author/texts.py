"""Score a few texts with a reward."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from reasonrl import ConfigError, Score
from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import load_reward
from reasonrl_author.report import cut
from reasonrl_author.rollouts import problem_of, rollout_of


def score_texts(
    reward: str,
    texts: Sequence[str],
    *,
    answer: str = "",
    prompt: str = "",
    meta: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    settings: ScoringSettings | None = None,
    plugins: Plugins | None = None,
) -> tuple[Score, ...]:
    """Score completions of one problem: one by one, or together where the reward compares them.

    Args:
        reward: an installed name, ``./file.py:name`` or ``package.module:name``.
        texts: completions, at least one.
        answer: the problem's answer.
        prompt: what the model saw; a completion continues it, as after ``<think>``.
        meta: further columns of the problem. Any: whatever the reward reads there.
        params: the reward's parameters. Any: their types are the function's.
        settings: with them the reward runs in workers, under a time limit; without, in this process.
        plugins: where the reward comes from; the installed ones if None.

    Raises:
        ReasonRLError: there is no such reward, or its parameters do not fit. What the reward raises is in its score.
    """
    loaded = load_reward(RewardRef(name=reward, params=dict(params or {})), plugins or Plugins())
    if settings is None and not loaded.is_async:
        loaded = replace(loaded, in_process=True)
    problem = problem_of(answer, id="tried", prompt=prompt, meta=meta)
    rollouts = [rollout_of(problem, text, seed=number) for number, text in enumerate(texts)]
    with RewardCaller([loaded], settings or ScoringSettings()) as caller:
        units = [[rollout] for rollout in rollouts] if loaded.unit == "rollout" else [rollouts]
        futures = [caller.submit(loaded.name, unit) for unit in units]
        return tuple(score for future in futures for score in future.result())


def score_text(reward: str, text: str, **given: Any) -> Score:
    """Score one completion in this process, for a reward's own tests. Any: as :func:`score_texts` takes it."""
    return score_texts(reward, [text], **given)[0]


def read_texts(texts: Sequence[str], files: Sequence[Path]) -> list[str]:
    """Return completions: as given, from standard input for ``-``, and from files.

    Raises:
        ConfigError: there is none, or one cannot be read.
    """
    read = [_decoded(sys.stdin.buffer.read(), "standard input") if text == "-" else text for text in texts]
    for file in files:
        try:
            read.append(_decoded(file.read_bytes(), str(file)))
        except OSError as error:
            raise ConfigError(f"--text-file {file}: cannot be read: {error.strerror}.") from None
    if not read:
        raise ConfigError("no text to score: give --text TEXT, --text - for standard input, or --text-file FILE.")
    return read


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8 text.") from None


def read_meta(text: str) -> dict[str, Any]:
    """Parse columns written as a JSON object. Any: JSON values.

    Raises:
        ConfigError: the text is not a JSON object.
    """
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--meta: not JSON ({error}). Write an object, such as '{{\"numbers\": [1, 2]}}'.") from None
    if not isinstance(meta, dict):
        raise ConfigError(f"--meta: {text!r} is not a JSON object. Write one, such as '{{\"numbers\": [1, 2]}}'.")
    return meta


def scores_as_json(texts: Sequence[str], scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return the scores with their texts as JSON values. Any: those."""
    return [
        {
            "text": text,
            "value": score.value,
            "outcome": score.outcome,
            "why": score.why,
            "parts": dict(score.parts),
            "spans": [asdict(span) for span in score.spans],
            "run_s": score.run_s,
        }
        for text, score in zip(texts, scores, strict=True)
    ]


def describe_scores(texts: Sequence[str], scores: Sequence[Score]) -> str:
    """Return the scores for a person; several are numbered, each with the beginning of its text."""
    several = len(texts) > 1
    return "\n\n".join(
        "\n".join([*([f"{number}. {cut(text)!r}"] if several else []), *_lines(text, score)])
        for number, (text, score) in enumerate(zip(texts, scores, strict=True), start=1)
    )


def _lines(text: str, score: Score) -> list[str]:
    steps = [f"  {span.value:.6g} for {cut(text[span.start : span.end])!r} {span.why}".rstrip() for span in score.spans]
    parts = [f"  {name}: {value:.6g}" for name, value in score.parts.items()]
    return [
        f"value: {'none' if score.value is None else f'{score.value:.6g}'}",
        f"outcome: {score.outcome}",
        f"why: {score.why or '(the reward gives no reason)'}",
        *(["parts:", *parts] if parts else []),
        *(["steps:", *steps] if steps else []),
        f"run time: {score.run_s * 1000:.3g} ms",
    ]
