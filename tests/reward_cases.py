"""Completions that every reward must stand."""

from typing import Final

from reasonrl import Problem, Rollout, Trajectory

R1_PROMPT: Final = (
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, i.e., "
    "<think> reasoning process here </think> <answer> answer here </answer>. User: What is 7 + 1? Assistant:"
)

HOSTILE: Final = (
    "",
    " \n\t",
    R1_PROMPT,
    "<think>",
    "</think>",
    "<answer></answer>",
    "<answer>" + "[" * 1_000_000 + "</answer>",
    "<answer>" * 10_000,
    "(" * 50_000,
    r"\boxed{" * 20_000,
    "}" * 50_000,
    "a" * 50_000,
    "a, " * 20_000,
    "* " * 20_000,
    "9" * 50_000,
    "$" * 20_000,
    "\n" * 20_000,
    "The answer is " * 10_000,
    "\N{ARABIC-INDIC DIGIT THREE}\N{ZERO WIDTH SPACE}\N{RIGHT-TO-LEFT OVERRIDE}\x00\ufffd" * 1_000,
    "\ud800 is half a character",
    "<answer>__import__('os')._exit(1)</answer>",
)


def rollout(text: str, answer: str = "8", *, prompt: str = R1_PROMPT, num_tokens: int = 0, **meta: object) -> Rollout:
    problem = Problem(id="1", task="test", prompt="What is 7 + 1?", answer=answer, meta=meta)
    completion = Trajectory.single_turn(
        token_ids=(0,) * num_tokens,
        text=text,
        logprobs=(0.0,) * num_tokens,
        finish_reason="stop",
        policy_version=0,
        sample_index=0,
        seed=0,
    )
    return Rollout(problem=problem, prompt=prompt, trajectory=completion)
