"""The epochs after which a callback looks at the network."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.arguments import require


@dataclass(frozen=True)
class ChosenEpochs:
    """A set of epochs, counted from 0: every n-th one, or those of a list.

    Attributes:
        callback_name: Whose they are, for the messages.
        every_n_epochs: With n, the epochs n - 1, 2n - 1 and so on.
        epochs: The epochs, in place of ``every_n_epochs``.

    Raises:
        ConfigurationError: ``every_n_epochs`` is below 1; ``epochs`` is empty or holds a negative one.
    """

    callback_name: str
    every_n_epochs: int = 1
    epochs: Sequence[int] | None = None

    def __post_init__(self) -> None:
        every, epochs = self.every_n_epochs, self.epochs
        require(every >= 1, f"{self.callback_name}.every_n_epochs", every, "at least 1")
        fits = epochs is None or (len(epochs) > 0 and min(epochs) >= 0)
        require(fits, f"{self.callback_name}.epochs", epochs, "a list of epochs, counted from 0")

    def __contains__(self, epoch: int) -> bool:
        if self.epochs is not None:
            return epoch in self.epochs
        return (epoch + 1) % self.every_n_epochs == 0

    def now(self, trainer: Trainer) -> bool:
        """Says whether this is the validation of a chosen epoch of a fit."""
        in_fit = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        return in_fit and trainer.current_epoch in self

    def warn_of_absent(self, trainer: Trainer) -> None:
        """Says if a fit that is about to start never validates after some of them."""
        last, every = trainer.max_epochs, trainer.check_val_every_n_epoch
        if last is None or last < 0 or every is None:
            return
        come = [epoch for epoch in range(every - 1, last, every) if epoch in self]
        if len(come) < (1 if self.epochs is None else len(set(self.epochs))):
            rank_zero_warn(
                f"{self.callback_name} looks at the network after the epochs {come} only: with trainer.max_epochs "
                f"{last} and trainer.check_val_every_n_epoch {every} no other chosen one is validated."
            )
