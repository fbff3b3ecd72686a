"""The progress of certification on the terminal."""

from collections import Counter
from collections.abc import Iterable

from lightning.pytorch import Trainer
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from gls_lightning.certification import Record, Verdict


class CertificationProgress:
    """A bar with the number of samples of each verdict, in place of Lightning's, which counts batches.

    Args:
        trainer: Whether it has a progress bar, this one is shown, on the first process.
        known: What was decided before.
        left: Number of samples that are left for this process.
    """

    def __init__(self, trainer: Trainer, known: Iterable[Record], left: int) -> None:
        self._counts = Counter(record.verdict for record in known)
        shown = trainer.progress_bar_callback is not None and trainer.is_global_zero
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.disable()
        before = self._counts.total()
        self._bar = tqdm(
            desc="certify", unit="sample", total=before + left, initial=before, disable=not shown, dynamic_ncols=True
        )
        self._show()

    def add(self, record: Record) -> None:
        """Counts a sample."""
        self._counts[record.verdict] += 1
        self._show()
        self._bar.update()

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()

    def _show(self) -> None:
        self._bar.set_postfix({verdict.value: self._counts[verdict] for verdict in Verdict}, refresh=False)
