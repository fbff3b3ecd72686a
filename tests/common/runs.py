"""Runs of a small configuration through the command line."""

from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = str(CONFIGS / "tiny.yaml")
"""A few seconds of DeepPoly and RGS on digits."""
STANDARD = ("--model.objective=Standard", "--model.estimator=Backprop")
"""Training without bounds, which takes less time."""


def tiny_run(folders: pytest.TempPathFactory, *words: str) -> Path:
    """Trains in a folder of its own; the directory of the run."""
    from gls_lightning.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folders.mktemp("trained"))
        main(["fit", "--config", TINY, *words])
        return Path("runs/tiny/version_0").absolute()
