"""Results of ``gls certify``."""

import json
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
    Time,
    as_json,
    describe_errors,
    errors_of,
    refused_by_system,
    summarise,
)
from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.run_files import write_whole
from gls_lightning.training import ACCURACIES

_SUMMARY = "summary.json"


def report_certification(
    evaluated: EvaluatedModel, options: Mapping[str, Any], directory: RecordDirectory, claims: Claims
) -> None:
    """Prints a summary of a directory's records, writes it there as ``summary.json``, and logs it, to W&B with a table.

    To be called on the first process.

    Args:
        evaluated: The model that is certified.
        options: Options of the command, as values of JSON, for the file.
        directory: The directory.
        claims: Claims of the processes that are at work there.
    """
    network, path = evaluated.about["network"], directory.path / _SUMMARY
    with claims.alone():  # so that of several processes that end at once the last one reads the records of all
        found = directory.read()
        missing = found.chosen - found.records.keys()
        _warn(found, missing, claims)
        if not found.records:
            return
        records = list(found.records.values())
        summary = summarise(records)
        about = {
            "checkpoint": evaluated.ckpt_path,
            "network": network,
            "options": options,
            "certifiers": found.certifiers,
            "fingerprint": dict(directory.fingerprint),
            "missing": len(missing),
            "errors": errors_of(records),
        }
        _write(path, {**about, **_as_dict(summary)})
    _log(evaluated.trainer.loggers, summary, records)
    console = Console(soft_wrap=True)
    console.print(_accuracies(summary, f"{network}: {_what(directory, summary)}"), _times(summary))
    console.print(f"{'records':<16} {directory.path}\n{'summary':<16} {path}")


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, allow_nan=False)
    with refused_by_system(path, "the records are whole, and the same command writes their summary"):
        write_whole(path, lambda draft: draft.write_text(text + "\n"))


def reported_errors(directory: Path) -> str | None:
    """Says which samples of a directory's summary are errors, on whichever process; returns None if none is."""
    path = directory / _SUMMARY
    errors = json.loads(path.read_text())["errors"] if path.is_file() else {}
    return f"{describe_errors(errors)}; {path} lists all" if errors else None


def _warn(found: Found, missing: set[int], claims: Claims) -> None:
    for note in found.notes:
        rank_zero_warn(note)
    if missing:
        busy = sum(map(claims.is_taken, missing))
        deciding = f"; other processes are deciding {busy} of them now" if busy else ""
        rank_zero_warn(f"{len(missing)} samples that were to be certified have no record yet{deciding}.")


def _what(directory: RecordDirectory, summary: Summary) -> str:
    about = directory.fingerprint
    return f"{summary.total.samples} test images of {about['dataset']}, epsilon {about['epsilon']:.6g}"


def _as_dict(summary: Summary) -> dict[str, Any]:
    return {
        **{name: getattr(summary, name) for name in ACCURACIES},
        "intervals": summary.intervals,
        "total": _time(summary.total, summary),
        "verdicts": {verdict.value: _time(time, summary) for verdict, time in summary.verdicts.items()},
        "stages": {name: _time(time, summary) for name, time in summary.stages.items()},
        "hard": _time(summary.hard, summary),
    }


def _time(time: Time, summary: Summary) -> dict[str, float]:
    return {**time._asdict(), "mean": time.mean, "share": time.samples / summary.total.samples}


def _accuracies(summary: Summary, title: str) -> Table:
    table = Table("accuracy", "", "95 % interval", title=title)
    for name, (low, high) in summary.intervals.items():
        table.add_row(name.removesuffix("_accuracy"), f"{getattr(summary, name):.2%}", f"{low:.2%} to {high:.2%}")
    return table


def _times(summary: Summary) -> Table:
    table = Table("", "samples", "share", "seconds", "mean", "longest", caption="hard: branch and bound, or unknown")
    sections = (
        {verdict.value: time for verdict, time in summary.verdicts.items()},
        {f"by {name}": time for name, time in summary.stages.items()},
        {"hard": summary.hard, "total": summary.total},
    )
    for section in sections:
        for name, time in section.items():
            share = f"{time.samples / summary.total.samples:.2%}"
            seconds = (f"{value:.3f}" for value in (time.seconds, time.mean, time.longest))
            table.add_row(name, str(time.samples), share, *seconds)
        table.add_section()
    return table


def _log(loggers: Iterable[Logger], summary: Summary, records: Sequence[Record]) -> None:
    numbers = {name: getattr(summary, name) for name in ACCURACIES}
    numbers |= {verdict.value: time.samples for verdict, time in summary.verdicts.items()}
    numbers["seconds"] = summary.total.seconds
    for logger in loggers:
        logger.log_metrics({f"certification/{name}": value for name, value in numbers.items()})
        if isinstance(logger, WandbLogger):
            rows = [as_json(record) for record in records]
            logger.log_table("certification/records", list(rows[0]), [list(row.values()) for row in rows])
