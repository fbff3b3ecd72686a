"""The convolutional networks that certified training is compared on, as one stack of layers with five sets of sizes."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Literal, NamedTuple

from torch import nn

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
    """Sizes of one square convolution."""

    channels: int
    kernel_size: int
    stride: int
    padding: int

    def output_size(self, size: int) -> int:
        """Height or width of the output for an input of height or width ``size``."""
        return (size + 2 * self.padding - self.kernel_size) // self.stride + 1


class ConvolutionalNetwork(nn.Sequential):
    """Normalisation, convolutions, at most one hidden linear layer, linear output; a ReLU after each but the output.

    The layers are called ``normalization``, ``conv1``, ``batch_norm1``, ``relu1``, ..., ``flatten``, ``fc``,
    ``output``. A subclass sets the sizes.

    Args:
        input_shape: Channels, height and width of an image.
        num_classes: Number of logits.
        mean: Per channel, subtracted from images in [0, 1] by the first layer; no normalisation if None.
        std: Per channel, divides after the subtraction; given exactly if ``mean`` is.
        initialization: Of the hidden weights: ``ibp`` (Shi et al., 2021), ``kaiming_uniform`` (He et al., 2015) or
            ``default`` (PyTorch's).
        batch_norm: Whether BatchNorm precedes each ReLU.

    Raises:
        ConfigurationError: One of the arguments is out of its range or does not fit the others.
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
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise ConfigurationError(
                f"input_shape must be three positive numbers (channels, height, width), got {tuple(input_shape)}"
            )
        if num_classes < 2:
            raise ConfigurationError(f"num_classes must be at least 2, got {num_classes}")
        if initialization not in _INITIALIZATIONS:
            raise ConfigurationError(
                f"initialization must be one of {', '.join(_INITIALIZATIONS)}; got {initialization!r}"
            )
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
        """A layer, or for a slice the layers as a plain sequence."""
        return nn.Sequential(OrderedDict(self.named_children()))[index]

    @classmethod
    def convolutions_for(cls, input_shape: Sequence[int]) -> tuple[ConvolutionSize, ...]:
        """The convolutions used for images of shape ``(channels, height, width)``."""
        return cls.convolutions

    def _add_normalization(self, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        if mean is None and std is None:
            return
        if mean is None or std is None:
            raise ConfigurationError(f"mean and std must be given together, got mean {mean} and std {std}")
        if len(mean) != channels:
            raise ConfigurationError(f"mean must have one value for each of the {channels} channels, got {mean}")
        self.add_module("normalization", Normalization(mean=mean, std=std))

    def _add_convolutions(self, input_shape: Sequence[int], batch_norm: bool) -> int:
        """Appends the convolutions and returns the number of features of the last one."""
        channels, *sizes = input_shape
        for index, convolution in enumerate(self.convolutions_for(input_shape), start=1):
            sizes = [convolution.output_size(size) for size in sizes]
            if min(sizes) < 1:
                raise ConfigurationError(f"input_shape {tuple(input_shape)} is too small for {type(self).__name__}")
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
    """CNN3: two convolutions of 8 channels (paper, Table 9). 5,170 parameters on MNIST, 6,770 on CIFAR-10."""

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
        **options: The arguments that all networks share.
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
        """As the base class; the stride of the last one depends on the size of the images."""
        *first, last = cls.convolutions
        return (*first, last._replace(stride=2 if max(input_shape[1:]) > 32 else 1))
