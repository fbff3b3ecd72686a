"""Checkpoints that are on the disk whole or not at all, and that are checked when they are read."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from fsspec.utils import get_protocol  # type: ignore[import-untyped]
from lightning.pytorch.plugins.io import TorchCheckpointIO

from gls_lightning.run_files import seal, write_whole
from gls_lightning.weights import read_content


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint beside its place, with a checksum, and moves it there once it is on the disk.

    A process that is killed and a disk that is full leave the checkpoint before as it was, wherever ``TMPDIR`` is.
    The files are those of ``torch.save``, for any reader. ``GLSTrainer`` has it by default, other Trainers with
    ``plugins=[WholeCheckpointIO()]``. Paths of remote file systems are left to Lightning.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint.

        Raises:
            OSError: It cannot be written; a file that was there is as it was.
        """
        if storage_options is not None or not _is_local(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        buffer = BytesIO()
        torch.save(checkpoint, buffer)
        content = bytearray(buffer.getbuffer())
        seal(content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), lambda draft: draft.write_bytes(content))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            ConfigurationError: There is no such file, or it is damaged.
        """
        if not _is_local(path):
            return super().load_checkpoint(path, map_location, weights_only)
        # Not mapped: what a fit restores lives on while the file is replaced.
        content: dict[str, Any] = read_content(
            path, weights_only=weights_only is not False, map_location=map_location, mapped=False
        )
        return content


def _is_local(path: str | Path) -> bool:
    return str(get_protocol(str(path))) == "file"
