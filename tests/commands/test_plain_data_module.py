"""The commands on a LightningDataModule that says nothing about its images."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from gls_lightning.data import Digits
from gls_lightning.main import main

PLAIN = """
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning.data import Digits


class Plain(LightningDataModule):
    def setup(self, stage):
        self.images, self.labels, _ = next(iter(Digits(batch_size=50, test_size=50).test_dataloader()))

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.images, self.labels), 16)

    def test_dataloader(self):
        return DataLoader(TensorDataset(self.images, self.labels), 16)


class Empty(Plain):
    def setup(self, stage):
        super().setup(stage)
        self.images, self.labels = self.images[:0], self.labels[:0]


class Bytes(Plain):
    def setup(self, stage):
        super().setup(stage)
        self.images = (16 * self.images).byte()

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, labels = batch
        assert self.trainer.testing
        return images / 16, labels
"""
CONFIG = """
imports: [plain]
data: Plain
model:
  class_path: CertifiedTrainingModule
  init_args:
    network:
      class_path: CNN3Tiny
      init_args: {input_shape: [1, 8, 8]}
    objective: Standard
    estimator: Backprop
    epsilon: 0.02
trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_progress_bar: false, enable_model_summary: false}
"""

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture(autouse=True)
def files(clean_place: None) -> None:
    Path("plain.py").write_text(PLAIN)
    Path("plain.yaml").write_text(CONFIG)
    assert Digits(test_size=50).input_shape == (1, 8, 8), "what a plain data module does not say"


def records(folder: str) -> list[dict[str, Any]]:
    (file,) = Path(folder).glob("records-*.jsonl")
    found = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    return sorted(({**r, "seconds": 0, "check": ""} for r in found), key=lambda record: record["index"])


def test_certify_as_with_the_packages_own_data(files: None) -> None:
    main(["certify", "--config=plain.yaml", "--output=plain"])
    main(["certify", "--config=plain.yaml", "--data=Digits", "--data.test_size=50", "--output=own"])
    assert len(records("plain")) == 50
    assert records("plain") == records("own")
    main(["certify", "--config=plain.yaml", "--data=Bytes", "--output=bytes"])
    assert records("bytes") == records("own"), "batches go through the data module's own hooks"


@pytest.mark.parametrize("command", ["certify", "landscape", "tightness", "export"])
def test_no_images(command: str, files: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--config=plain.yaml", "--data=Empty"])
    assert f"gls: gls {command} needs test images, and Empty has none" in capsys.readouterr().err


def rows(folder: str) -> list[dict[str, str]]:
    with Path(folder, "curves.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_landscape(files: None) -> None:
    few = ["--points=3", "--sigmas=[0.001]", "--population_sizes=[2]", "--samples=6", "--relaxations=[IBP]"]
    main(["landscape", "--config=plain.yaml", "--output=plain", *few])
    main(["landscape", "--config=plain.yaml", "--data=Digits", "--data.test_size=50", "--output=own", *few])
    plain, own = rows("plain"), rows("own")
    assert [float(row["loss"]) for row in plain] == pytest.approx([float(row["loss"]) for row in own])
    assert len(plain) >= 3


def test_tightness(files: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tightness", "--num_radii=3", "--relaxations=[IBP,CROWNIBP]"]
    main([*words, "--config=plain.yaml"])
    plain = capsys.readouterr().out
    main([*words, "--config=plain.yaml", "--data=Digits", "--data.test_size=50"])
    own = capsys.readouterr().out
    assert "CROWNIBP" in plain
    assert [line for line in plain.splitlines() if "│" in line] == [line for line in own.splitlines() if "│" in line]


def test_export(files: None) -> None:
    pytest.importorskip("onnx")
    main(["export", "--config=plain.yaml", "--output=plain", "--samples=3"])
    main(["export", "--config=plain.yaml", "--data=Digits", "--data.test_size=50", "--output=own", "--samples=3"])
    properties = [{p.name: p.read_text() for p in Path(name, "vnnlib").iterdir()} for name in ("plain", "own")]
    assert len(properties[0]) == 3
    assert properties[0] == properties[1]
