"""Options of ``gls landscape``."""

from functools import partial
from pathlib import Path
from typing import Any

from gls_lightning.arguments import Radius
from gls_lightning.commands.landscape.evaluation import LandscapeEvaluation
from gls_lightning.commands.landscape.report import report_landscape
from gls_lightning.commands.shared import ChosenTestImages, EvaluatedModel
from gls_lightning.diagnostics.landscape import LossLandscape
from gls_lightning.objectives import Objective
from gls_lightning.run_files import LandscapeDescription


def landscape(
    evaluated: EvaluatedModel,
    samples: int = 16,
    epsilon: Radius | None = None,
    objective: Objective | None = None,
    output: Path | None = None,
    **options: Any,
) -> None:
    """Looks at the loss around the weights, as it is and smoothed, for several relaxations.

    Args:
        evaluated: The model.
        samples: How many test images the loss is of, the first ones; all where there are fewer.
        epsilon: Radius. By default the model's.
        objective: What the loss is. By default the model's, or Certified where that bounds nothing.
        output: Directory for numbers and pictures. By default ``landscape/NAME`` in the run of the
            checkpoint NAME, or ``landscape`` here without one.
        **options: Further options are those of LossLandscape.

    Raises:
        ConfigurationError: A value is out of range, or the checkpoint does not fit.
    """
    evaluation = LandscapeEvaluation(
        evaluated.model,
        LossLandscape(**options),
        partial(report_landscape, evaluated, evaluated.directory(LandscapeDescription.DIRECTORY, output)),
        objective=objective,
        epsilon=evaluated.radius(epsilon),
    )
    evaluated.test(evaluation, ChosenTestImages(evaluated.datamodule, "gls landscape", samples=samples))
