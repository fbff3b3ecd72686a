"""The weights that a network has at the start of a fit in place of those of its initialisation."""

from lightning.pytorch import Trainer
from torch import Tensor, nn

from gls_lightning.training.optimization import configuration_of
from gls_lightning.training.processes import on_first_process
from gls_lightning.weights import read_weights


class InitialWeights:
    """The file of the initial weights, until it was read or other weights were loaded.

    Args:
        path: The file; None for the weights of the initialisation.

    Attributes:
        unread: The file, as long as it is to be read.
        of_checkpoint: What ``unread`` was in the checkpoint whose tensors are loaded next.
    """

    def __init__(self, path: str | None) -> None:
        self.unread = path
        self.of_checkpoint: str | None = None

    def give(self, trainer: Trainer, network: nn.Module) -> None:
        """Gives a network the weights of the file, read once for all processes.

        Raises:
            ConfigurationError: The file cannot be read, or is of another network.
        """
        if (path := self.unread) is not None:

            def read() -> dict[str, Tensor]:
                with configuration_of("model.init_from"):
                    return read_weights(path, network)

            network.load_state_dict(on_first_process(trainer, read))
            self.unread = None

    def replace(self) -> None:
        """Notes that other weights are loaded; those of a checkpoint from before the reading are replaced in turn."""
        self.unread, self.of_checkpoint = self.of_checkpoint, None
