"""Batch normalisation."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.operations.elementwise import ElementwiseAffine
from gls_lightning.bounds.operations.operation import Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements


@dataclass(frozen=True, kw_only=True)
class BatchNorm(ElementwiseAffine):
    """Batch normalisation with the mean and the variance found among the tensors, whoever put them there.

    Attributes:
        weight: Name of the scale, if any.
        bias: Name of the shift, if any.
        mean: Name of the mean.
        variance: Name of the variance.
        eps: Added to the variance.
    """

    weight: str | None
    bias: str | None
    mean: str
    variance: str
    eps: float

    @override
    def scale_and_shift(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        scale = (tensors[self.variance] + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * tensors[self.weight]
        mean = tensors[self.mean]
        shift = -mean * scale if self.bias is None else torch.addcmul(tensors[self.bias], mean, scale, value=-1)
        shape = (1, -1) + (1,) * (len(self.output_shape) - 1)
        return scale.reshape(shape), shift.reshape(shape)

    @override
    def magnitude(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        scale, _ = self.scale_and_shift(tensors)
        sums = scale.flatten().abs() * (inputs[0][:, None] + tensors[self.mean].abs())
        if self.bias is not None:
            sums = sums + tensors[self.bias].abs()
        return sums.reshape(*sums.shape, *(1,) * (len(self.output_shape) - 1))

    def batch_statistics(self, x: Tensor) -> dict[str, Tensor]:
        """Computes mean and biased variance of a batch ``[B, *shape]`` under the names of this layer's buffers."""
        axes = (0, *range(2, x.ndim))
        variance, mean = torch.var_mean(x, axes, correction=0)
        return {self.mean: mean, self.variance: variance}


@implements(nn.BatchNorm1d, nn.BatchNorm2d)
def _build(call: Call) -> Operation:
    norm = call.module
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    if norm.running_mean is None:
        call.refuse("it keeps no running statistics")
    return call.make(
        BatchNorm,
        weight=call.tensor("weight"),
        bias=call.tensor("bias"),
        mean=call.tensor("running_mean"),
        variance=call.tensor("running_var"),
        eps=norm.eps,
    )
