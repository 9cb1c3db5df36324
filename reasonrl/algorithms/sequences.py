"""Values of completion tokens laid out row after row: ``values_M`` with ``lengths_N`` tokens in each of N rows."""

from torch import Tensor


def sequence_means(values_M: Tensor, lengths_N: Tensor) -> Tensor:
    """Return the mean of each row's tokens, shape [N]; 0 for a row without tokens."""
    rows_M = lengths_N.new_tensor(range(len(lengths_N))).repeat_interleave(lengths_N)
    sums_N = values_M.new_zeros(len(lengths_N)).index_add(0, rows_M, values_M)
    return sums_N / lengths_N.clamp(min=1)


def to_tokens(values_N: Tensor, lengths_N: Tensor) -> Tensor:
    """Return each row's value once for each of its tokens, shape [M]."""
    return values_N.repeat_interleave(lengths_N)
