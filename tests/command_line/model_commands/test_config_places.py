"""Lines of configurations, counted by hand."""

from pathlib import Path

import pytest

from gls_lightning.command_line.model_commands.config_places import place

CONFIG = """\
# a comment
model:
  class_path: Own
  init_args:
    estimator: {class_path: RGS, init_args: {sigma: 0.1,
      population_size: 2}}
    optimizer:
      lr: 1
trainer:
  callbacks+:
    - class_path: Timer
    - class_path: SWA
      init_args:
        start_epoch: 3
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("model", 2),
        ("model.estimator", 5),
        ("model.estimator.sigma", 5),
        ("model.estimator.population_size", 6),
        ("model.optimizer.lr", 8),
        ("trainer.callbacks", 10),
        ("trainer.callbacks.start_epoch", 14),
    ],
)
def test_lines(key: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(CONFIG)
    assert place(key, [file]) == f"{file}, line {line}"


def test_the_file_that_rules(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower.yaml", tmp_path / "upper.yaml"
    lower.write_text("a: {b: 1}\n")
    upper.write_text("# other\na: {c: 1}\n")
    assert place("a", [lower, upper]) == f"{upper}, line 2"
    assert place("a.b", [lower, upper]) == f"{lower}, line 1"
    assert place("a.d", [lower, upper]) == ""
    assert place("a", [tmp_path / "absent.yaml"]) == ""
