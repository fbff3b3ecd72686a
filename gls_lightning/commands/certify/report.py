"""Results of ``gls certify``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.table import Table

from gls_lightning.certification import (
    Claims,
    Found,
    Record,
    RecordDirectory,
    Summary,
    as_json,
    describe_errors,
    errors_of,
    refused_by_system,
    summarise,
)
from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.run_files import ACCURACY_METRICS, CertificationSummary


def report_certification(
    evaluated: EvaluatedModel, options: Mapping[str, Any], directory: RecordDirectory, claims: Claims, positions: range
) -> None:
    """Prints a summary of a directory's records, writes it there as ``summary.json``, and logs it, to W&B with a table.

    To be called on the first process.

    Args:
        evaluated: The model that is certified.
        options: Options of the command, as values of JSON, for the file.
        directory: The directory.
        claims: Claims of the processes that are at work there.
        positions: Positions of the images that this command is to certify.
    """
    with claims.alone():  # so that of several processes that end at once the last one reads the records of all
        found = directory.read()
        missing = {*found.chosen, *positions} - found.records.keys()
        _warn(found, missing, claims)
        if not found.records:
            return
        records = list(found.records.values())
        summary = summarise(records)
        content = CertificationSummary(
            checkpoint=evaluated.ckpt_path,
            network=evaluated.about["network"],
            options=options,
            certifiers=found.certifiers,
            fingerprint=dict(directory.fingerprint),
            missing=len(missing),
            errors=errors_of(records),
            intervals=summary.intervals,
            **vars(summary),
        )
        path = directory.path / CertificationSummary.FILE
        with refused_by_system(path, "the records are whole, and the same command writes their summary"):
            content.write(directory.path)
    _log(evaluated.trainer.loggers, summary, records)
    console = Console(soft_wrap=True)
    console.print(_accuracies(content), _times(summary))
    console.print(f"{'records':<16} {directory.path}\n{'summary':<16} {path}")


def reported_errors(directory: Path) -> str | None:
    """Says which samples of a directory's summary are errors, on whichever process; returns None if none is."""
    path = directory / CertificationSummary.FILE
    errors = CertificationSummary.read(path).errors if path.is_file() else {}
    return f"{describe_errors(errors)}; {path} lists all" if errors else None


def _warn(found: Found, missing: set[int], claims: Claims) -> None:
    for note in found.notes:
        rank_zero_warn(note)
    if missing:
        busy = sum(map(claims.is_taken, missing))
        deciding = f"; other processes are deciding {busy} of them now" if busy else ""
        rank_zero_warn(f"{len(missing)} samples that were to be certified have no record yet{deciding}.")


def _accuracies(content: CertificationSummary) -> Table:
    images = f"{content.total.samples} test images of {content.dataset}, epsilon {content.epsilon:.6g}"
    table = Table("accuracy", "", "95 % interval", title=f"{content.network}: {images}")
    for name, accuracy in content.accuracies.items():
        low, high = content.interval(name)
        table.add_row(name, f"{accuracy:.2%}", f"{low:.2%} to {high:.2%}")
    return table


def _times(summary: Summary) -> Table:
    table = Table("", "samples", "share", "seconds", "mean", "longest", caption="hard: branch and bound, or unknown")
    sections = (
        summary.verdicts,
        {f"by {name}": of for name, of in summary.stages.items()},
        {"hard": summary.hard, "total": summary.total},
    )
    for section in sections:
        for name, of in section.items():
            seconds = (f"{value:.3f}" for value in (of.seconds, of.mean, of.longest))
            table.add_row(name, str(of.samples), f"{of.share:.2%}", *seconds)
        table.add_section()
    return table


def _log(loggers: Iterable[Logger], summary: Summary, records: Sequence[Record]) -> None:
    numbers = {name: getattr(summary, name) for name in ACCURACY_METRICS}
    numbers |= {verdict: of.samples for verdict, of in summary.verdicts.items()}
    numbers["seconds"] = summary.total.seconds
    for logger in loggers:
        logger.log_metrics({f"certification/{name}": value for name, value in numbers.items()})
        if isinstance(logger, WandbLogger):
            rows = [as_json(record) for record in records]
            logger.log_table("certification/records", list(rows[0]), [list(row.values()) for row in rows])
