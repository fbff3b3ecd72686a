"""Linear specifications of the logits."""

import torch
from torch import Tensor


def margin_specification(labels: Tensor, num_classes: int, dtype: torch.dtype | None = None) -> Tensor:
    """Writes the margins of each label ``y`` as rows ``e_y - e_i``, for every other class ``i`` in its order.

    A sample is certified when the lower bounds of all its rows are above 0 (paper, Eq. 1).

    Args:
        labels: Class of each sample, ``[B]``, int64.
        num_classes: Number of logits ``K``.
        dtype: Type of the result; torch's default type if absent.

    Returns:
        The specification, ``[B, K - 1, K]``.

    Example:
        >>> margin_specification(torch.tensor([1]), num_classes=3)
        tensor([[[-1.,  1.,  0.],
                 [ 0.,  1., -1.]]])
    """
    identity = torch.eye(num_classes, dtype=dtype, device=labels.device)
    return identity[labels][:, None] - identity[other_classes(labels, num_classes)]


def other_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Lists the classes other than each label ``[B]`` in their order, ``[B, K - 1]``."""
    others = torch.arange(num_classes - 1, device=labels.device)
    return others + (others >= labels[:, None])
