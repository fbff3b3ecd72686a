"""Second stages, which are nothing without the network of the first one."""

from pathlib import Path

from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import CHECKPOINTS, RUNS


def check_first_stage(stage: str | None, start: object) -> None:
    """Checks that a fit has the network that its configuration starts from.

    Args:
        stage: The configuration of that network; None if there is none.
        start: The checkpoint that the fit starts from or goes on with; None if there is none.

    Raises:
        ConfigurationError: It would start from its initialisation.
    """
    if stage is not None and start is None:
        weights = RUNS / Path(stage).stem / "version_0" / CHECKPOINTS / "last.ckpt"
        raise ConfigurationError(
            f"first_stage is {stage}, the network that this one starts from: train it and add "
            f"--model.init_from={weights}, let gls table do both, or start from scratch with --first_stage=null"
        )
