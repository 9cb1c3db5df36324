"""Values of completion tokens laid out row after row: ``values_M`` with ``lengths_N`` tokens in each of N rows.

How many tokens there are in all is taken from a shape: their sum would have to be read from the device.
"""

from torch import Tensor


def sequence_means(values_M: Tensor, lengths_N: Tensor) -> Tensor:
    """Return the mean of each row's tokens, shape [N]; 0 for a row without tokens."""
    rows_M = lengths_N.new_tensor(range(len(lengths_N))).repeat_interleave(lengths_N, output_size=len(values_M))
    sums_N = values_M.new_zeros(len(lengths_N)).index_add(0, rows_M, values_M)
    return sums_N / lengths_N.clamp(min=1)


def to_tokens(values_N: Tensor, lengths_N: Tensor, num_tokens: int) -> Tensor:
    """Return each row's value once for each of its tokens, shape [M], of which there are ``num_tokens``."""
    return values_N.repeat_interleave(lengths_N, output_size=num_tokens)
