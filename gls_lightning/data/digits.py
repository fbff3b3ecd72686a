"""Handwritten digits that come with scikit-learn."""

import torch
from torch import Tensor

from gls_lightning.data.image_data_module import ImageDataModule


class Digits(ImageDataModule):
    """The 1797 handwritten 8x8 digits that come with scikit-learn; nothing is downloaded.

    Every fifth image of each class is a test image: 1433 training images, 364 test images.

    Example:
        >>> data = Digits(batch_size=100, validation_size=200)
        >>> data.setup("fit")
        >>> images, labels, indices = next(iter(data.train_dataloader()))
        >>> images.shape, labels.shape, len(data.train_set), len(data.validation_set)
        (torch.Size([100, 1, 8, 8]), torch.Size([100]), 1233, 200)
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    white = 16

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Reads the training or the test set."""
        # slow to import, and no other data set needs it
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]

        values, classes = load_digits(return_X_y=True)
        images = torch.from_numpy(values).to(torch.uint8).reshape(-1, *self.input_shape)
        labels = torch.from_numpy(classes).long()
        is_test = torch.zeros(len(labels), dtype=torch.bool)
        for label in range(self.num_classes):
            is_test[(labels == label).nonzero()[::5]] = True
        chosen = ~is_test if train else is_test
        return images[chosen], labels[chosen]
