"""Radius and perturbation on schedules that have nothing to do with each other or with the learning rate."""

import csv
from math import cos, pi
from pathlib import Path

import pytest
from common.runs import TINY

from gls_lightning.main import main

SCHEDULES = """
epsilon_annealing: {shape: step, milestones: [1, 3]}
sigma_decay: {shape: cosine, factor: 5, start_epoch: 1, end_epoch: 3}
model:
  init_args:
    estimator: {class_path: RGS, init_args: {sigma: 0.01}}
    scheduler: {class_path: torch.optim.lr_scheduler.MultiStepLR, init_args: {milestones: [2], gamma: 0.1}}
trainer: {max_epochs: 4, limit_val_batches: 0}
"""


def test_every_value_of_a_run(clean_place: None) -> None:
    Path("schedules.yaml").write_text(SCHEDULES)
    main(["fit", "--config", TINY, "--config", "schedules.yaml"])
    with next(Path("runs").rglob("metrics.csv")).open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["sigma"]]
    assert len(rows) == 8  # two batches in each of four epochs
    for step, row in enumerate(rows):
        assert float(row["epsilon"]) == pytest.approx(0.05 * [0, 0.5, 0.5, 1][step // 2])
        way = 0.5 - 0.5 * cos(pi * min(max(step - 2, 0), 4) / 4)
        assert float(row["sigma"]) == pytest.approx(0.01 * (1 + 4 * way))
