"""FashionMNIST."""

import torchvision  # type: ignore[import-untyped]

from gls_lightning.data._idx_images import IDXImages


class FashionMNIST(IDXImages):
    """Articles of clothing (Xiao et al., 2017): 60,000 training and 10,000 test images in the format of MNIST."""

    source = torchvision.datasets.FashionMNIST
