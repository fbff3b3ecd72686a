"""The examples of README.md, CONTRIBUTING.md and docs/ work as they stand there, and links lead somewhere."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from torch import nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.bounds.operations import BUILDERS
from gls_lightning.callbacks import LossLandscapeLogger, PeriodicCertification
from gls_lightning.cli import GLSCLI
from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.data import Digits
from gls_lightning.estimators import Step
from gls_lightning.interchange.onnx_graph import CONVERTERS
from gls_lightning.interchange.robustness_property import robustness_property
from gls_lightning.main import main
from gls_lightning.objectives import Batch
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, HBox

ROOT = Path(__file__).parents[1]


@pytest.fixture
def example(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """The names that a document's block of code with a certain text defines."""
    document, text = request.param
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    (code,) = (block for block in blocks if text in block)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "example"}
    known = dict(BUILDERS)
    exec(code, names)
    yield names
    BUILDERS.clear()
    BUILDERS.update(known)


@pytest.mark.parametrize("example", [("docs/estimators.md", "after_step")], indirect=True)
def test_estimator_of_a_step_function(example: dict[str, Any]) -> None:
    assert (example["params"]["x"] - 1).abs().max() < 0.5


@pytest.mark.parametrize("example", [("docs/metrics.md", "MetricCollection")], indirect=True)
def test_metrics_of_an_own_loop(example: dict[str, Any]) -> None:
    certified, adversarial = (example["metrics"].compute()[f"{name}Accuracy"] for name in ("Certified", "Adversarial"))
    assert 0.6 < certified <= adversarial < 1


@pytest.mark.parametrize("example", [("docs/data.md", "class Stripes")], indirect=True)
def test_a_data_set_of_ones_own(example: dict[str, Any]) -> None:
    data = example["Stripes"](batch_size=100)
    data.setup("fit")
    ((images, labels, indices),) = data.train_dataloader()
    upright = (images[:, 0, 0] != images[:, 0, 1]).flatten(1).any(1)
    assert torch.equal(upright, labels == 0)
    assert torch.equal(labels, indices % 2)


@pytest.mark.parametrize("example", [("docs/certification.md", "complete_certifier")], indirect=True)
def test_complete_certification(example: dict[str, Any]) -> None:
    records, network = example["records"], example["network"].double()
    assert {record.verdict for record in records} == {"certified", "falsified"}
    for record in records:
        noise = torch.rand(1000, 4, dtype=torch.double).mul(2).sub(1).sign() * 0.1
        points = (example["images"][record.index].double() + noise).clamp(0, 1)
        if record.verdict == "certified":
            assert (network(points).argmax(1) == record.label).all()


PAGES = (ROOT / f"docs/{name}.md" for name in ("certification", "landscapes"))
COMMANDS = [c for page in PAGES for c in re.findall(r"^gls ((?:certify|landscape) .*)", page.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str, clean_place: None, parsed: list[GLSCLI]) -> None:
    checkpoint = Path(re.search(r"--ckpt_path (\S+)", command)[1])
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}}, checkpoint)
    main([*command.split(), "--config", str(ROOT / "tests/configs/tiny.yaml")])
    assert parsed[0].subcommand == command.split()[0]


def test_callback_of_the_page_on_certification(clean_place: None, parsed: list[GLSCLI]) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/certification.md").read_text(), re.DOTALL)
    Path("callback.yaml").write_text(text)
    main(["fit", "--config", str(ROOT / "tests/configs/tiny.yaml"), "--config", "callback.yaml"])
    (added,) = (c for c in parsed[0].trainer.callbacks if isinstance(c, PeriodicCertification))
    assert (added.time_budget, added.certifier.stages[-1].branch_and_bound.time_limit) == (60, 2)


def test_callback_of_the_page_on_landscapes(clean_place: None, parsed: list[GLSCLI]) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/landscapes.md").read_text(), re.DOTALL)
    Path("callback.yaml").write_text(text)
    main(["fit", "--config", str(ROOT / "tests/configs/tiny.yaml"), "--config", "callback.yaml"])
    (added,) = (c for c in parsed[0].trainer.callbacks if isinstance(c, LossLandscapeLogger))
    assert (list(added.landscape.relaxations), added.landscape.sigmas) == (["IBP", "DeepPoly"], (1e-4, 1e-3))


def test_schedule_of_the_page_on_training(clean_place: None, parsed: list[GLSCLI]) -> None:
    for text in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/training.md").read_text(), re.DOTALL):
        Path("schedule.yaml").write_text(text)
        main(["fit", "--config", str(ROOT / "tests/configs/tiny.yaml"), "--config", "schedule.yaml"])
    of_rates, of_values = parsed
    assert of_rates.model.scheduler_interval == "step"
    assert of_rates.model.scheduler(torch.optim.Adam([torch.zeros(1)])).total_steps == 2350
    callbacks = {type(callback).__name__: callback for callback in of_values.trainer.callbacks}
    assert callbacks["EpsilonAnnealing"].epochs.shape == "cosine"
    assert callbacks["SigmaDecay"].epochs.milestones == [50, 60]


@pytest.mark.parametrize("example", [("docs/training.md", "Waves")], indirect=True)
def test_schedule_of_ones_own(example: dict[str, Any]) -> None:
    waves = example["Waves"]()
    assert [waves.fraction(step) for step in (0, 9, 10, 19, 20)] == [1, 1, 0.5, 0.5, 1]


@pytest.mark.parametrize("example", [("docs/training.md", "warm_up_and_cosine")], indirect=True)
def test_warm_up(example: dict[str, Any]) -> None:
    optimizer = example["options"]["optimizer"]([torch.zeros(1)])
    schedule, rates = example["options"]["scheduler"](optimizer), []
    for _ in range(20):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(5e-5)
    assert rates.index(max(rates)) == 5
    assert rates[5:] == sorted(rates[5:], reverse=True)


@pytest.mark.parametrize("example", [("docs/landscapes.md", "LossLandscape")], indirect=True)
def test_landscape(example: dict[str, Any]) -> None:
    assert example["landscape"].sigmas == (0, 0.05)
    assert Path("curves.png").stat().st_size > 10_000


@pytest.mark.parametrize("example", [("README.md", "CertifiedTrainingModule")], indirect=True)
def test_own_project(example: dict[str, Any]) -> None:
    assert example["trainer"].callback_metrics["val/certified_accuracy"] > 0.2
    trained, loaded = (dict(example[name].named_parameters()) for name in ("module", "loaded"))
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], parameter) for name, parameter in trained.items())


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "class Intersection")], indirect=True)
def test_relaxation(example: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    graph, x = trace(network, (4,)), torch.rand(5, 4)
    problem = (graph, network.state_dict(), Box.around(x, 0.1), margin_specification(torch.zeros(5, dtype=int), 3))
    both = example["Intersection"]()(*problem)
    assert (both >= IBP()(*problem)).all()
    assert (both >= CROWNIBP()(*problem)).all()


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "class AntitheticRGS")], indirect=True)
def test_estimator_is_exact_on_a_quadratic(example: dict[str, Any]) -> None:
    theta = torch.randn(5, requires_grad=True)
    matrix = torch.randn(5, 5)

    def quadratic(params: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return params["theta"] @ matrix @ params["theta"], {}

    example["AntitheticRGS"](sigma=0.5)(quadratic, {"theta": theta}, Step(0, 0)).loss.backward()
    torch.testing.assert_close(theta.grad, (matrix + matrix.T) @ theta.detach())


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "class CertifiedHinge")], indirect=True)
def test_objective_is_a_closed_form_on_a_linear_network(example: dict[str, Any]) -> None:
    network = nn.Linear(4, 2)
    x, labels = 0.2 + 0.6 * torch.rand(5, 4), torch.tensor([0, 1, 0, 1, 0])
    loss, metrics = example["CertifiedHinge"](target=0.3)(
        trace(network, (4,)), IBP(), network.state_dict(), Batch(x, labels, torch.tensor(0.1))
    )
    difference = network.weight[0] - network.weight[1]
    margins = (x @ difference + network.bias[0] - network.bias[1]) * (1 - 2 * labels) - 0.1 * difference.abs().sum()
    torch.testing.assert_close(loss, (0.3 - margins).clamp(min=0).mean())
    assert metrics["certified_accuracy"] == (margins > 0).float().mean()


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "class WeightNorm")], indirect=True)
def test_callback(example: dict[str, Any]) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = quiet_trainer(max_epochs=1, limit_val_batches=0, callbacks=[example["WeightNorm"]()])
    trainer.fit(CertifiedTrainingModule(network=network, relaxation=IBP(), epsilon=0.05), datamodule=Digits())
    flat = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert trainer.callback_metrics["weight_norm"].item() == pytest.approx(flat.norm().item())


@pytest.mark.parametrize("example", [("CONTRIBUTING.md", "def sparsity")], indirect=True)
def test_command(example: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(network[1].weight, 0.5)
    nn.init.zeros_(network[1].bias)
    module = CertifiedTrainingModule(network=network, relaxation=IBP(), epsilon=0.05)
    example["sparsity"](EvaluatedModel(quiet_trainer(), module, Digits()))
    assert capsys.readouterr().out.endswith("1.5% of the parameters are at most 0.001\n")


def conv_network(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), *layers, nn.Flatten(), nn.Linear(16, 3)).double()


RELAXATIONS = IBP(), HBox(), CROWNIBP(), DeepPoly()


@pytest.mark.parametrize("example", [("docs/operations.md", "class Softplus")], indirect=True)
@pytest.mark.parametrize("epsilon", [0.0, 0.03, 0.3])
def test_activation_gives_sound_bounds(example: dict[str, Any], epsilon: float) -> None:
    network = conv_network(nn.Softplus(), nn.Conv2d(4, 4, 3, padding=1), nn.Softplus())
    graph, x = trace(network, (1, 4, 4)), torch.rand(5, 1, 4, 4).double()
    torch.testing.assert_close(graph(network.state_dict(), x), network(x))
    box, spec = Box.around(x, epsilon), torch.eye(3).double().expand(5, 3, 3)
    for relaxation in RELAXATIONS:
        lower = relaxation(graph, dict(network.named_parameters()), box, spec)
        assert all(g.isfinite().all() for g in torch.autograd.grad(lower.sum(), list(network.parameters())))
        for _ in range(50):
            inside = torch.lerp(*box, torch.rand_like(x).mul(1.5).sub(0.25).clamp(0, 1))
            assert (network(inside) >= lower - 1e-12).all()
        if not epsilon:
            torch.testing.assert_close(lower, network(x))


@pytest.mark.parametrize("example", [("docs/operations.md", "class ChannelShuffle")], indirect=True)
def test_affine_operation_is_exact(example: dict[str, Any]) -> None:
    network = conv_network(nn.ChannelShuffle(2))
    graph, x = trace(network, (1, 4, 4)), 0.2 + 0.6 * torch.rand(5, 1, 4, 4).double()
    torch.testing.assert_close(graph(network.state_dict(), x), network(x))
    slopes = torch.autograd.functional.jacobian(lambda x: network(x[None])[0], x[0]).flatten(1)
    expected = network(x) - 0.1 * slopes.abs().sum(1)
    problem = graph, network.state_dict(), Box.around(x, 0.1), torch.eye(3).double().expand(5, 3, 3)
    for relaxation in (HBox(), CROWNIBP(), DeepPoly()):
        torch.testing.assert_close(relaxation(*problem), expected)
    assert (IBP()(*problem) <= expected).all()


def test_interchange() -> None:
    """The operations that the page lists are those that are supported, and its property is the one that is written."""
    text = (ROOT / "docs/interchange.md").read_text()
    rows = re.findall(r"^\| (`[A-Z].*?) \|", text, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(CONVERTERS)
    (block,) = re.findall(r"```\n(\(declare-const.*?)```", text, re.DOTALL)
    box = Box(*torch.tensor([[[0.375]], [[0.625]]], dtype=torch.float64))
    assert robustness_property(box, 1, 3, "an image").split("\n", 1)[1] == block


def _slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def _links(page: Path) -> list[tuple[Path, str]]:
    """The files of the repository that a page refers to, and the anchors in them."""
    found = re.findall(r"\]\(([^)\s]+)\)", _prose(page))
    relative = (link.partition("#") for link in found if not re.match(r"\w+:", link))
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in relative]


PLACES = "*.md", "docs/*.md", "benchmarks/*.md", "notebooks/*.ipynb"
PAGES_AND_NOTEBOOKS = sorted(page for place in PLACES for page in ROOT.glob(place))


@pytest.mark.parametrize("page", PAGES_AND_NOTEBOOKS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _links(page):
        assert target.exists(), f"{page.name} refers to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", _prose(target), re.MULTILINE)
            assert anchor in map(_slug, headings), f"{page.name} refers to {anchor} in {target.name}"


def test_the_index_lists_every_page() -> None:
    listed = {target for target, _ in _links(ROOT / "docs/index.md")}
    assert listed == {*PAGES_AND_NOTEBOOKS} - {ROOT / "docs/index.md"}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_table_of_layers_is_that_of_the_linter() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("gls_lightning.", "").split(" | ") for layer in contracts[0]["layers"]]
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == layers
