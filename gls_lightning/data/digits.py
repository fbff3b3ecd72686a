"""Scikit-learn's embedded handwritten digits."""

import torch
from torch import Tensor

from gls_lightning.data.image_data_module import ImageDataModule


class Digits(ImageDataModule):
    """The 1797 handwritten 8x8 digits that come with scikit-learn; nothing is downloaded.

    Every fifth image of each class is a test image: 1433 training images, 364 test images.
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    white = 16

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Reads the training or the test set."""
        # Imported here because it is slow, and no other data set needs it.
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]

        values, classes = load_digits(return_X_y=True)
        images = torch.from_numpy(values).to(torch.uint8).reshape(-1, *self.input_shape)
        labels = torch.from_numpy(classes).long()
        is_test = torch.zeros(len(labels), dtype=torch.bool)
        for label in range(self.num_classes):
            is_test[(labels == label).nonzero()[::5]] = True
        chosen = ~is_test if train else is_test
        return images[chosen], labels[chosen]
