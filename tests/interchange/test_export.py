"""``gls export``: what is written says what the network and its images are."""

import csv
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file
from torch import Tensor, nn

import gls_lightning
from gls_lightning.batches import LabelledImages
from gls_lightning.bounds import Box
from gls_lightning.certification import Certifier, Verdict
from gls_lightning.data import Digits
from gls_lightning.errors import ConfigurationError, ContradictionError
from gls_lightning.interchange.benchmark import write_benchmark
from gls_lightning.interchange.onnx_export import write_onnx
from gls_lightning.interchange.onnx_graph import read_graph
from gls_lightning.interchange.onnx_network import OnnxNetwork
from gls_lightning.interchange.vnnlib_property import read_property
from gls_lightning.main import main
from gls_lightning.weights import read_weights

TINY = str(Path(__file__).parents[1] / "configs/tiny.yaml")
CHECKPOINT = "runs/tiny/version_0/checkpoints/last.ckpt"
EXPORT = Path("runs/tiny/version_0/export/last")
RESIDUAL = """
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.branch, self.first, self.pool = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(1), nn.AvgPool2d(2)
        self.hidden, self.last, self.output = nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Linear(12, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(self.first(x))))
        x = torch.relu(x + self.branch(x))
        return self.output(torch.relu(self.last(self.hidden(self.pool(x).flatten(1)))))
"""

pytestmark = pytest.mark.usefixtures("clean_place")


def test_trained_network_and_its_properties(capsys: pytest.CaptureFixture[str]) -> None:
    normalisation = ["--model.network.mean=[0.3]", "--model.network.std=[0.4]"]
    main(["fit", "--config", TINY, *normalisation])
    main(["export", "--ckpt_path", CHECKPOINT, "--samples=3", "--start=4", "--epsilon=0.02", "--timeout=7"])
    assert f"network and 3 properties of radius 0.02 in {EXPORT}" in capsys.readouterr().out
    files = {path.relative_to(EXPORT).as_posix() for path in EXPORT.rglob("*") if path.is_file()}
    properties = [f"vnnlib/image_{number}.vnnlib" for number in (4, 5, 6)]
    assert files == {"network.onnx", "network.safetensors", "instances.csv", *properties}
    with (EXPORT / "instances.csv").open() as lines:
        assert list(csv.reader(lines)) == [["network.onnx", name, "7.0"] for name in properties]

    network = gls_lightning.load(CHECKPOINT).network.eval()
    require_same(network, EXPORT / "network.onnx")
    state = load_file(EXPORT / "network.safetensors")
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())

    images, labels = digits()
    for number, name in zip((4, 5, 6), properties, strict=True):
        (region,) = read_property(EXPORT / name).regions
        question = region.question
        box = Box.around(images[number].double(), 0.02)
        assert torch.equal(question.box.lower[0], box.lower.flatten())
        assert torch.equal(question.box.upper[0], box.upper.flatten())
        wrong = [j for j in range(10) if j != labels[number]]
        expected = torch.eye(10).double()[labels[number]] - torch.eye(10).double()[wrong]
        assert torch.equal(question.rows[:, 0], expected)

    main(["export", "--ckpt_path", CHECKPOINT, "--samples=1", "--epsilon=0.3"])
    assert [path.name for path in (EXPORT / "vnnlib").iterdir()] == ["image_0.vnnlib"]


def test_networks_with_batch_norm_and_branches() -> None:
    Path("residual.py").write_text(RESIDUAL)
    main(
        ["fit", "--config", TINY, "--imports=[residual]", "--model.network=residual.Residual", "--model.relaxation=IBP"]
    )
    main(["export", "--ckpt_path", CHECKPOINT, "--samples=1", "--output=elsewhere/here"])
    network = gls_lightning.load(CHECKPOINT).network.eval()
    assert network.norm.running_var.var() > 0
    require_same(network, Path("elsewhere/here/network.onnx"))
    weights = read_weights("elsewhere/here/network.safetensors", network)
    assert weights.keys() == network.state_dict().keys()


def test_verdicts_are_those_of_the_certifier(capsys: pytest.CaptureFixture[str]) -> None:
    training = [
        "--data.train_size=1000",
        "--trainer.max_epochs=4",
        "--model.estimator=Backprop",
        "--model.relaxation=IBP",
    ]
    main(["fit", "--config", TINY, *training, "--model.optimizer=Adam", "--model.optimizer.lr=0.01"])
    main(["export", "--ckpt_path", CHECKPOINT, "--samples=8", "--epsilon=0.02"])
    module, (images, labels) = gls_lightning.load(CHECKPOINT), digits()
    module.trace((1, 8, 8))
    records = Certifier().certify(module.graph, module.tensors(), images[:8], labels[:8], torch.arange(8), 0.02)
    expected = {Verdict.CERTIFIED: "unsat", Verdict.FALSIFIED: "sat", Verdict.MISCLASSIFIED: "sat"}
    for record in records:
        capsys.readouterr()
        main(["verify", str(EXPORT / "network.onnx"), str(EXPORT / f"vnnlib/image_{record.index}.vnnlib")])
        assert capsys.readouterr().out.split()[0] == expected[record.verdict]
    assert {expected[record.verdict] for record in records} == {"unsat", "sat"}


def digits() -> tuple[Tensor, Tensor]:
    data = Digits(test_size=50)
    data.setup("test")
    images, labels, _ = next(iter(data.test_dataloader()))
    return images, labels


def require_same(network: nn.Module, path: Path) -> None:
    """The file, evaluated by the onnx package on batches of two sizes, and the reader's graph."""
    model = onnx.load(path)
    plain = {"Add", "AveragePool", "BatchNormalization", "Conv", "Div", "Gemm", "Relu", "Reshape", "Sub"}
    assert {node.op_type for node in model.graph.node} <= plain
    assert "site-packages" not in str(model), "where this machine keeps its files is nobody's business"
    images = torch.rand(6, 1, 8, 8)
    with torch.no_grad():
        expected = network(images)
        for batch in (images[:1], images):
            (found,) = ReferenceEvaluator(model).run(None, {"X": batch.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), expected[: len(batch)], rtol=1e-4, atol=1e-5)
        graph, tensors = read_graph(OnnxNetwork(path))
        exact = network.double()(images.double())
        torch.testing.assert_close(graph(tensors, images.double()), exact, rtol=1e-5, atol=1e-6)
        network.float()


class OtherwiseWhenExported(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (0.01 if torch.compiler.is_exporting() else 0)


def test_a_wrong_file_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    write_onnx(nn.Linear(4, 3), (4,), path)
    before = path.read_bytes()
    broken = nn.Linear(4, 3)
    broken.weight.data[0, 0] = torch.nan
    for network in (OtherwiseWhenExported(4, 3), broken):
        with pytest.raises(ContradictionError, match="the exported network differs"):
            write_onnx(network, (4,), path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


class OfOneBatchSize(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(4, -1))


class Deciding(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (OfOneBatchSize(4, 3), "OfOneBatchSize cannot be exported: it takes batches of one size only"),
        (Deciding(4, 3), "PyTorch cannot export Deciding: "),
    ],
)
def test_networks_that_cannot_be_exported(network: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        write_onnx(network, (4,), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


def test_labels_beyond_the_outputs(tmp_path: Path) -> None:
    samples = LabelledImages(torch.zeros(1, 4), torch.tensor([3]), torch.tensor([0]))
    with pytest.raises(ConfigurationError, match="the network has 3 outputs, but an image has the label 3"):
        write_benchmark(nn.Linear(4, 3), samples, tmp_path, epsilon=0.1, timeout=1)


def test_the_network_stays_as_it_is(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    before: dict[str, Any] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert write_onnx(network, (4,), tmp_path / "network.onnx") == 3
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples=0"], "samples is 0; it must be at least 1"),
        (["--start=50"], "start is 50; it must be below 50, the number of test images"),
        (["--epsilon=2"], "epsilon is 2.0; a radius for images in .0, 1. lies between 0 and 1"),
        (["--timeout=0"], "timeout is 0.0; it must be positive"),
    ],
)
@pytest.mark.filterwarnings("ignore:gls export without ckpt_path")
def test_bad_input(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["export", "--config", TINY, *words])
    assert exit_.value.code == 2
    assert re.search(f"gls: {message}", capsys.readouterr().err)
    assert not Path("export").exists()
