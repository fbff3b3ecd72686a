"""``gls export``: a network and properties of test images in files for other verifiers."""

from pathlib import Path

from gls_lightning.arguments import Radius
from gls_lightning.commands.shared import ChosenTestImages, EvaluatedModel


def export(
    evaluated: EvaluatedModel,
    output: Path | None = None,
    samples: int = 100,
    start: int = 0,
    epsilon: Radius | None = None,
    timeout: float = 100.0,
) -> None:
    """Writes the network and the robustness of test images for other verifiers, as ONNX and VNN-LIB.

    Args:
        evaluated: The model.
        output: Directory for the files. By default ``export/NAME`` in the run of the checkpoint NAME, or ``export``
            here without one.
        samples: How many test images get a property; all that follow where there are fewer.
        start: Position of the first one in the test set.
        epsilon: Radius of the properties. By default the model's.
        timeout: Seconds for each property, noted in ``instances.csv``.

    Raises:
        ConfigurationError: A value is out of range, the checkpoint does not fit, or a package is missing.
    """
    from gls_lightning.interchange.benchmark import write_benchmark  # needs optional packages

    directory = evaluated.directory("export", output)
    images = ChosenTestImages(evaluated.datamodule, "gls export", start=start, samples=samples)
    radius = evaluated.radius(epsilon)
    evaluated.load_weights()
    write_benchmark(evaluated.model.network, images.read_chosen(), directory, epsilon=radius, timeout=timeout)
    print(f"network and {len(images.positions)} properties of radius {radius:g} in {directory}")
