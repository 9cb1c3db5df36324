"""A generative model as judge, behind any chat endpoint: of one completion, of a pair, or of a group."""

from reasonrl_rewards.judge.groupwise import judge_group
from reasonrl_rewards.judge.pairwise import judge_pairwise
from reasonrl_rewards.judge.pointwise import judge

__all__ = ["judge", "judge_group", "judge_pairwise"]
