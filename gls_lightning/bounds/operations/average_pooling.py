"""Average pooling."""

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.operations.convolution import Convolution
from gls_lightning.bounds.operations.operation import Tensors


@dataclass(frozen=True, kw_only=True)
class AveragePooling(Convolution):
    """Means over windows, padding counted: a convolution of each channel with a constant kernel."""

    weight: str = ""
    bias: str | None = None

    @override
    def kernel(self, tensors: Tensors, like: Tensor) -> Tensor:
        height, width = self.kernel_size
        return like.new_full((self.groups, 1, height, width), 1 / (height * width))
