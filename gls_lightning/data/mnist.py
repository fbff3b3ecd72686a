"""MNIST."""

import torchvision  # type: ignore[import-untyped]

from gls_lightning.data._idx_images import IDXImages


class MNIST(IDXImages):
    """Handwritten digits (LeCun et al., 2010): 60,000 training and 10,000 test images."""

    source = torchvision.datasets.MNIST
