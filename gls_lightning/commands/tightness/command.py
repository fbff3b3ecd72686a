"""Options of ``gls tightness``."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gls_lightning.arguments import Radius, read_radius
from gls_lightning.commands.shared import ChosenTestImages, EvaluatedModel
from gls_lightning.commands.tightness.evaluation import TightnessEvaluation
from gls_lightning.commands.tightness.report import report_tightness
from gls_lightning.diagnostics import TightnessMeter, radius_grid
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import Relaxation
from gls_lightning.run_files import TightnessCurves


def tightness(
    evaluated: EvaluatedModel,
    relaxations: list[Relaxation] | None = None,
    radii: Sequence[Radius] | None = None,
    max_epsilon: Radius | None = None,
    num_radii: int = 21,
    samples: int = 1000,
    output: Path | None = None,
) -> None:
    """Measures how tight relaxations are: certified accuracy over the radius, and the area under it.

    Args:
        evaluated: The model.
        relaxations: What to compare. By default IBP, HBox, CROWN-IBP and DeepPoly.
        radii: The radii, increasing; instead of an even grid.
        max_epsilon: Largest radius of an even grid that starts at 0. By default twice the model's epsilon.
        num_radii: Number of radii of the even grid.
        samples: How many test images to use, the first ones; all where there are fewer.
        output: Directory for the files. By default ``tightness/NAME`` in the run of the checkpoint NAME, or
            ``tightness`` here without one.

    Raises:
        ConfigurationError: A value is out of range, or the checkpoint does not fit.
    """
    if radii is None:
        twice = min(1.0, 2 * evaluated.model.epsilon)
        radii = radius_grid(twice if max_epsilon is None else read_radius(max_epsilon, "max_epsilon"), num_radii)
    elif max_epsilon is not None:
        raise ConfigurationError(f"radii is {radii} and max_epsilon is {max_epsilon}; give one of them")
    meter = TightnessMeter(radii, relaxations)
    images = ChosenTestImages(evaluated.datamodule, "gls tightness", samples=samples)
    report = partial(report_tightness, evaluated, evaluated.directory(TightnessCurves.DIRECTORY, output))
    evaluated.test(TightnessEvaluation(evaluated.model, meter, images, report), images)
