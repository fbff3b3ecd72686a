"""Data sets that download themselves."""

from abc import abstractmethod
from http.client import HTTPException
from pathlib import Path
from typing import Any

from gls_lightning.data.image_data_module import ImageDataModule
from gls_lightning.errors import ConfigurationError


class DownloadedImages(ImageDataModule):
    """Images in torchvision's layout, which are downloaded if they are missing.

    Args:
        root: Folder of the data sets, with a folder for each in torchvision's layout.
        **kwargs: See ``ImageDataModule``.
    """

    def __init__(self, *, root: str = "data", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()

    @abstractmethod
    def download(self) -> None:
        """Downloads what is missing or damaged."""

    def prepare_data(self) -> None:
        """Downloads the data set if it is missing.

        Raises:
            ConfigurationError: It is missing and cannot be downloaded.
        """
        try:
            self.download()
        except (OSError, RuntimeError, HTTPException) as error:
            name = type(self).__name__
            raise ConfigurationError(
                f"data.root: {str(self.root)!r} does not hold {name}, and downloading it failed ({error}); "
                f"name a folder that holds {name} in torchvision's layout, or connect to the network"
            ) from error
