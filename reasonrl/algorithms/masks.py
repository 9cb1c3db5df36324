"""Masks of tokens that a policy loss leaves out, whatever the loss is; they stay in the reduction's denominator."""

from torch import Tensor

from reasonrl.algorithms.sequences import sequence_means, to_tokens


def off_policy_tokens(
    logprobs_M: Tensor, sampler_logprobs_M: Tensor, advantages_M: Tensor, lengths_N: Tensor, *, threshold: float
) -> Tensor:
    """Return which tokens [M] the off-policy sequence mask of DeepSeek-V3.2 leaves out (arXiv:2512.02556, equation 9).

    Those with a negative advantage in a sequence that the policy finds unlikelier than the sampler did, by more than
    ``threshold`` nats a token: the mean of ``log(sampler / policy)`` over the sequence.
    """
    drift_N = sequence_means(sampler_logprobs_M - logprobs_M.detach(), lengths_N)
    return to_tokens(drift_N > threshold, lengths_N, len(logprobs_M)) & (advantages_M < 0)
