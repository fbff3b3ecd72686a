"""Data sets that download themselves."""

from abc import abstractmethod
from http.client import HTTPException
from pathlib import Path
from typing import Any

from gls_lightning.data.image_data_module import ImageDataModule
from gls_lightning.errors import ConfigurationError


class DownloadedImages(ImageDataModule):
    """Images that lie in ``root`` as torchvision lays them out, and are downloaded where they are missing.

    Args:
        root: The folder that holds the data sets, one folder each, as torchvision lays them out.
        **kwargs: See ``ImageDataModule``.
    """

    def __init__(self, *, root: str = "data", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()

    @abstractmethod
    def download(self) -> None:
        """Downloads what is missing or damaged."""

    def prepare_data(self) -> None:
        """Downloads the data set unless it is there.

        Raises:
            ConfigurationError: It is not there and cannot be downloaded.
        """
        try:
            self.download()
        except (OSError, RuntimeError, HTTPException) as error:
            name = type(self).__name__
            raise ConfigurationError(
                f"data.root: {str(self.root)!r} does not hold {name}, and downloading it failed ({error}); "
                f"name a folder that holds {name} in torchvision's layout, or connect to the network"
            ) from error
