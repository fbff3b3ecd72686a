"""The convolutional networks of the literature on certified training: one stack of layers, five sets of sizes."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Literal, NamedTuple

from torch import nn

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError
from gls_lightning.networks.initialization import ibp_initialization, kaiming_uniform_initialization
from gls_lightning.networks.normalization import Normalization

Initialization = Literal["ibp", "kaiming_uniform", "default"]

_INITIALIZATIONS: Mapping[str, Callable[[nn.Module], None]] = {
    "ibp": ibp_initialization,
    "kaiming_uniform": kaiming_uniform_initialization,
    "default": lambda network: None,
}


class ConvolutionSize(NamedTuple):
    """Sizes of a square convolution."""

    channels: int
    kernel_size: int
    stride: int
    padding: int

    def output_size(self, size: int) -> int:
        """Returns the output's height or width for an input of height or width ``size``."""
        return (size + 2 * self.padding - self.kernel_size) // self.stride + 1


class ConvolutionalNetwork(nn.Sequential):
    """A stack of normalisation, convolutions, at most one hidden linear layer and a linear output.

    A ReLU follows every convolution and the hidden layer. The layers are called ``normalization``, ``conv1``,
    ``batch_norm1``, ``relu1``, ..., ``flatten``, ``fc``, ``output``. A subclass sets the sizes.

    Args:
        input_shape: Channels, height and width of an image.
        num_classes: Number of logits.
        mean: Mean of each channel, which the first layer subtracts from images in [0, 1]; None for no normalisation.
        std: Standard deviation of each channel, by which the first layer divides; None if ``mean`` is.
        initialization: Rule for hidden weights: ``ibp`` (Shi et al., 2021), ``kaiming_uniform`` (He et al., 2015) or
            ``default`` (PyTorch's).
        batch_norm: Whether BatchNorm precedes each ReLU.

    Raises:
        ConfigurationError: An argument is out of its range or does not fit the others.
    """

    convolutions: ClassVar[tuple[ConvolutionSize, ...]]
    hidden_features: ClassVar[int | None] = None

    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        initialization: Initialization = "ibp",
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        sizes_fit = len(input_shape) == 3 and min(input_shape) >= 1
        require(sizes_fit, "input_shape", input_shape, "three positive numbers: channels, height and width")
        require(num_classes >= 2, "num_classes", num_classes, "at least 2")
        known = f"one of {', '.join(_INITIALIZATIONS)}"
        require(initialization in _INITIALIZATIONS, "initialization", initialization, known)
        self._add_normalization(input_shape[0], mean, std)
        features = self._add_convolutions(input_shape, batch_norm)
        self.add_module("flatten", nn.Flatten())
        if self.hidden_features is not None:
            self.add_module("fc", nn.Linear(features, self.hidden_features))
            features = self.hidden_features
            self._add_activation(len(self.convolutions) + 1, nn.BatchNorm1d(features) if batch_norm else None)
        self.add_module("output", nn.Linear(features, num_classes))
        _INITIALIZATIONS[initialization](self)

    def __getitem__(self, index: slice | int) -> Any:
        """Returns a layer, or for a slice the layers in a plain ``nn.Sequential``."""
        return nn.Sequential(OrderedDict(self.named_children()))[index]

    @classmethod
    def convolutions_for(cls, input_shape: Sequence[int]) -> tuple[ConvolutionSize, ...]:
        """Returns the convolutions for images of shape ``(channels, height, width)``."""
        return cls.convolutions

    def _add_normalization(self, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        if mean is None and std is None:
            return
        if mean is None or std is None:
            raise ConfigurationError(f"mean is {mean} and std is {std}; they must be given together")
        require(len(mean) == channels, "mean", mean, f"one number for each of the {channels} channels")
        self.add_module("normalization", Normalization(mean=mean, std=std))

    def _add_convolutions(self, input_shape: Sequence[int], batch_norm: bool) -> int:
        """Appends the convolutions and returns the number of features of the last one."""
        channels, *sizes = input_shape
        for index, convolution in enumerate(self.convolutions_for(input_shape), start=1):
            sizes = [convolution.output_size(size) for size in sizes]
            if min(sizes) < 1:
                raise ConfigurationError(f"input_shape is {tuple(input_shape)}, too small for {type(self).__name__}")
            self.add_module(f"conv{index}", nn.Conv2d(channels, *convolution))
            channels = convolution.channels
            self._add_activation(index, nn.BatchNorm2d(channels) if batch_norm else None)
        return channels * prod(sizes)

    def _add_activation(self, index: int, batch_norm: nn.Module | None) -> None:
        if batch_norm is not None:
            self.add_module(f"batch_norm{index}", batch_norm)
        self.add_module(f"relu{index}", nn.ReLU())


class CNN3Tiny(ConvolutionalNetwork):
    """CNN3-tiny: two convolutions of 2 channels (paper, Table 9). 1,108 parameters on MNIST."""

    convolutions = (ConvolutionSize(2, 5, 2, 2), ConvolutionSize(2, 4, 2, 1))


class CNN3(ConvolutionalNetwork):
    """CNN3: two convolutions of 8 channels (paper, Table 9). 5,170 parameters on MNIST, 6,770 on CIFAR-10.

    Example:
        >>> import torch
        >>> network = CNN3(input_shape=(1, 28, 28), num_classes=10)
        >>> network(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
        >>> sum(parameter.numel() for parameter in network.parameters())
        5170
    """

    convolutions = (ConvolutionSize(8, 5, 2, 2), ConvolutionSize(8, 4, 2, 1))


class CNN5(ConvolutionalNetwork):
    """CNN5: three convolutions, 512 hidden features (paper, Table 9). 165,850 parameters on MNIST."""

    convolutions = (ConvolutionSize(16, 5, 2, 2), ConvolutionSize(16, 4, 2, 1), ConvolutionSize(32, 4, 2, 1))
    hidden_features = 512


class CNN5L(ConvolutionalNetwork):
    """CNN5-L: CNN5 with four times the channels (paper, Table 9). 1,255,882 parameters on CIFAR-10."""

    convolutions = (ConvolutionSize(64, 5, 2, 2), ConvolutionSize(64, 4, 2, 1), ConvolutionSize(128, 4, 2, 1))
    hidden_features = 512


class CNN7(ConvolutionalNetwork):
    """CNN7: five 3x3 convolutions, 512 hidden features (paper, appendix D.1). 13 million parameters on MNIST.

    The last convolution has stride 2 for images larger than 32 pixels (TinyImageNet).

    Args:
        batch_norm: Whether BatchNorm precedes each ReLU.
        **options: The arguments of all networks.

    Example:
        >>> import torch
        >>> network = CNN7(input_shape=(3, 8, 8), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> network.normalization(torch.ones(1, 3, 8, 8)).unique()
        tensor([2.])
    """

    convolutions = (
        ConvolutionSize(64, 3, 1, 1),
        ConvolutionSize(64, 3, 1, 1),
        ConvolutionSize(128, 3, 2, 1),
        ConvolutionSize(128, 3, 1, 1),
        ConvolutionSize(128, 3, 1, 1),
    )
    hidden_features = 512

    def __init__(self, *, batch_norm: bool = True, **options: Any) -> None:
        super().__init__(batch_norm=batch_norm, **options)

    @classmethod
    def convolutions_for(cls, input_shape: Sequence[int]) -> tuple[ConvolutionSize, ...]:
        """Returns the convolutions; the stride of the last one depends on the size of the images."""
        *first, last = cls.convolutions
        return (*first, last._replace(stride=2 if max(input_shape[1:]) > 32 else 1))
