"""The run of `async_depths.py`: sums as in `quickstart`, and one problem in twenty with long completions."""

import os
import sys
from pathlib import Path
from typing import Final

RUN: Final = """\
name: async
model: tiny
task:
- name: arithmetic
  weight: 19
  params: {num_problems: 4000, min_terms: 3, max_terms: 4, max_value: 20}
  rewards: [{name: numeric_answer, params: {sources: [answer_tag]}, isolated: false}]
- name: arithmetic
  label: long
  weight: 1
  params: {num_problems: 1000, min_terms: 3, max_terms: 4, max_value: 20}
  template: ./going_on.jinja
  max_new_tokens: 540
  rewards: [{name: "./long.py:long", params: {tokens: 540}, isolated: false}]
template: r1_zero
algorithm: {preset: dr_grpo}
rollout: {engine: vllm_server, prompts_per_step: 16, samples_per_prompt: 8, max_new_tokens: 80}
vllm: {replicas: 2, max_num_seqs: 64}
learner: {learning_rate: 5e-4, schedule: linear, warmup_steps: 3}
evaluation:
  suites:
  - name: arithmetic
    params: {num_problems: 400, min_terms: 3, max_terms: 4, max_value: 20}
    max_new_tokens: 80
  every: 1000
run: {steps: 60, checkpoint_every: 60}
"""
TEMPLATE: Final = "{{ prompt }}{% for number in range(1, 60) %} {{ number }} + 1 = {{ number + 1 }}.{% endfor %}"
"""Longer than what the tiny model was pretrained on: it goes on for hundreds of tokens."""
REWARD: Final = '''\
from reasonrl import Rollout, Score


def long(rollout: Rollout, *, tokens: int) -> Score:
    """Pay for length."""
    sampled = rollout.trajectory.num_sampled_tokens
    return Score(sampled / tokens, f"{sampled} tokens")
'''


def write_inputs(root: Path) -> None:
    """Write the run file with what it names."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in {"run.yaml": RUN, "going_on.jinja": TEMPLATE, "long.py": REWARD}.items():
        (root / name).write_text(text, encoding="utf-8")


def settings(name: str, depth: int, steps: int) -> list[str]:
    """Return what differs between the runs, as the command line takes it."""
    return [f"name={name}", f"rollout.async_steps={depth}", f"run.steps={steps}"]


def command(*arguments: str) -> list[str]:
    """Return the command that trains."""
    return [sys.executable, "-m", "reasonrl", "train", *arguments, "--plain"]


def environment() -> dict[str, str]:
    """Return the environment of a run: one thread for each of its processes."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}
