"""The result of certification for one sample."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor


class Verdict(StrEnum):
    """The answer to the question: does the network classify a sample correctly in its whole box?

    Attributes:
        CERTIFIED: Yes, everywhere in the box the label's logit is strictly the largest.
        FALSIFIED: No, at some point of the box another logit is at least as large.
        UNKNOWN: No stage could decide.
        MISCLASSIFIED: No, not even at the sample itself.
        ERROR: A stage computed no number, or two results that cannot both be true.
    """

    CERTIFIED = "certified"
    FALSIFIED = "falsified"
    UNKNOWN = "unknown"
    MISCLASSIFIED = "misclassified"
    ERROR = "error"

    @property
    def decided(self) -> bool:
        """True if no further stage could change the verdict."""
        return self not in (Verdict.UNKNOWN, Verdict.ERROR)


@dataclass(frozen=True)
class Record:
    """The result for one sample.

    Attributes:
        index: The sample's index in its data set.
        label: Its true class.
        prediction: The class of the largest logit; None if a logit is not a number.
        verdict: The verdict.
        stage: Name of the stage that decided, or failed; None for ``UNKNOWN``.
        margin: The label's logit minus the largest other one: at the sample if misclassified, at the counterexample if
            falsified, otherwise the best proven lower bound over the box; None if there is none.
        seconds: Time spent; a batch's time is divided evenly among its samples.
        subdomains: Number of parts of the box that branch and bound examined.
        counterexample: A point of the box that proves ``FALSIFIED``, ``[*input]``, float64.
        reason: The error, for ``ERROR``.

    Example:
        >>> record = Record(7, 3, 3, Verdict.CERTIFIED, "DeepPoly", margin=0.2, seconds=0.1)
        >>> record.verdict.decided
        True
    """

    index: int
    label: int
    prediction: int | None
    verdict: Verdict
    stage: str | None
    margin: float | None
    seconds: float
    subdomains: int = 0
    counterexample: Tensor | None = None
    reason: str | None = None


def errors_of(records: Iterable[Record]) -> dict[int, str | None]:
    """Returns the reasons of all errors by the samples' indices, in their order."""
    failed = (record for record in records if record.verdict is Verdict.ERROR)
    return {record.index: record.reason for record in sorted(failed, key=lambda record: record.index)}


def describe_errors(errors: Mapping[int, str | None]) -> str:
    """Says in one line which samples are errors, with the reason of the first one."""
    shown = ", ".join(map(str, list(errors)[:10])) + (", ..." if len(errors) > 10 else "")
    first, reason = next(iter(errors.items()))
    return f"certification failed at {len(errors)} samples ({shown}); at sample {first}: {reason}"
