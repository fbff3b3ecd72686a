"""Options of ``gls certify``."""

import sys
from functools import partial
from pathlib import Path

from gls_lightning.arguments import Radius
from gls_lightning.certification import Certifier, complete_certifier, select_stages
from gls_lightning.commands.certify.evaluation import CertificationEvaluation
from gls_lightning.commands.certify.report import report_certification, reported_errors
from gls_lightning.commands.certify.workers import Workers
from gls_lightning.commands.shared import ChosenTestImages, EvaluatedModel
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import CertificationSummary


def certify(
    evaluated: EvaluatedModel,
    samples: int | None = None,
    start: int = 0,
    end: int | None = None,
    epsilon: Radius | None = None,
    stages: list[str] | None = None,
    time_limit: float | None = None,
    certifier: Certifier | None = None,
    counterexamples: bool = False,
    retry_unknown: bool = False,
    output: Path | None = None,
    workers: Workers | None = None,
) -> None:
    """Decides for each test image whether its whole box is classified correctly; what is decided is kept.

    Args:
        evaluated: The model.
        samples: How many test images, in place of ``end``; all that follow where there are fewer.
        start: Position of the first one in the test set.
        end: Position behind the last one. By default the end of the test set.
        epsilon: Radius. By default the model's.
        stages: Names of the stages that run, in the certifier's order. By default all.
        time_limit: Seconds for each image that reaches branch and bound. By default 100.
        certifier: Certifies in place of PGD, IBP, CROWNIBP, DeepPoly, AlphaCROWN and BranchAndBound.
        counterexamples: Whether counterexamples are stored, too.
        retry_unknown: Whether images are tried again that earlier runs left unknown or failed at.
        output: Directory of the records, which a later run continues. By default
            ``certification/NAME`` in the run of the checkpoint NAME, or ``certification`` here without one.
        workers: Processes that decide in place of this one, which waits for them and sums up.

    Raises:
        ConfigurationError: A value is out of range, the checkpoint does not fit, or the directory's records are of
            something else or damaged.
        SystemExit: With code 1, after all is done: some images are errors, for example because two results cannot
            both be true; or workers have left some open.
    """
    if certifier is None:
        certifier = complete_certifier(time_limit=100.0 if time_limit is None else time_limit)
    elif time_limit is not None:
        raise ConfigurationError(f"time_limit is {time_limit}, which a certifier has its own of; give one of them")
    if stages is not None:
        certifier = select_stages(certifier, stages)
    images = ChosenTestImages(evaluated.datamodule, "gls certify", start=start, end=end, samples=samples)
    directory, radius = evaluated.directory(CertificationSummary.DIRECTORY, output), evaluated.radius(epsilon)
    options = {"epsilon": radius, "output": str(directory), "start": start, "end": end, "samples": samples}
    options |= {"counterexamples": counterexamples, "retry_unknown": retry_unknown}
    evaluation = CertificationEvaluation(
        evaluated.model,
        certifier,
        images,
        partial(report_certification, evaluated, options),
        epsilon=radius,
        output=directory,
        counterexamples=counterexamples,
        retry_unknown=retry_unknown,
        elsewhere=None if workers is None else partial(workers.run, directory / "logs"),
    )
    evaluated.test(evaluation, images)
    if evaluated.trainer.is_global_zero:
        problems = [reported_errors(directory), evaluation.left_open]
        if any(problems):
            sys.exit(f"gls: {'; '.join(filter(None, problems))}")
