"""The progress of certification on the terminal."""

from collections import Counter
from collections.abc import Collection, Iterable

from lightning.pytorch import Trainer

from gls_lightning.certification import Record, Verdict
from gls_lightning.commands.shared import progress_bar


class CertificationProgress:
    """Bar with the number of samples of each verdict, in place of Lightning's, which counts batches.

    Args:
        trainer: The trainer; if it has a progress bar, this one is shown, on the first process.
        total: How many samples there are.
        known: The records of those that were decided before.
    """

    def __init__(self, trainer: Trainer, total: int, known: Collection[Record]) -> None:
        self._bar = progress_bar(trainer, "certify", "sample", total=total, initial=len(known))
        self.show(known)

    def show(self, known: Iterable[Record]) -> None:
        """Shows what is decided, by whichever process."""
        self._counts = Counter(record.verdict for record in known)
        self._show()

    def add(self, record: Record) -> None:
        """Counts a sample."""
        self._counts[record.verdict] += 1
        self._show()

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()

    def _show(self) -> None:
        self._bar.set_postfix({verdict.value: self._counts[verdict] for verdict in Verdict}, refresh=False)
        self._bar.update(self._counts.total() - self._bar.n)
