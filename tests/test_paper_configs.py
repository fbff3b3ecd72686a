"""The configurations of the paper's tables say what the paper says, and are understood."""

import pickle
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace
from PIL import Image

from gls_lightning import cli
from gls_lightning.configuration.composition import SHIPPED, compose
from gls_lightning.main import main

ROWS = sorted((SHIPPED / "paper").glob("*.yaml"))
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.stem)
LINE = re.compile(
    r"Tables? (?P<tables>[\d, ]+): (?P<network>[^,]+), (?P<data>[^,]+), (?P<method>[^:]+)(: (?P<figures>.*))?"
)


class Printed(NamedTuple):
    """A row of a table: what was trained on what and how, and the accuracies as they are printed."""

    setting: str
    figures: tuple[str, ...]

    @property
    def line(self) -> str:
        names = ("natural", "certified", "adversarial")
        return ", ".join(f"{figure} {name}" for figure, name in zip(self.figures, names, strict=False))


class Described(NamedTuple):
    """What the first line of a configuration says."""

    tables: list[int]
    network: str
    data: str
    method: str
    figures: str | None

    @property
    def setting(self) -> str:
        return f"{self.network}, {self.data}, {self.method}"


def described(row: Path) -> Described:
    with row.open() as lines:
        match = LINE.fullmatch(next(lines).removeprefix("# ").strip())
    assert match, f"{row.name} does not start with its description"
    tables = [int(number) for number in match["tables"].split(", ")]
    return Described(tables, match["network"], match["data"], match["method"], match["figures"])


NETWORKS = {"CNN7 no BN": "CNN7 without BatchNorm", "CNN7": "CNN7 with BatchNorm"}
RELAXATIONS = {"DEEPPOLY": "DeepPoly", "$\\alpha$ -CROWN": "alpha-CROWN", "CROWN-IBP-LF": "CROWN-IBP with loss fusion"}
PEERS = ("SABR", "STAPS", "TAPS", "MTL-IBP")


def printed(paper: str, table: int) -> Iterator[Printed]:
    """The rows of a table of the paper, whose text has a tab between cells; a cell above holds until the next one."""
    network, data = {2: "CNN3-tiny", 4: "CNN5"}.get(table, "CNN3"), "MNIST 0.1"
    for line in table_lines(paper, table):
        cells = [cell for cell in re.sub(r"</?\w+>", "", line).split("\t") if cell.strip()]
        if table == 5:
            cells.pop()  # the hours
        figures = tuple(cell for cell in cells if re.fullmatch(r"\d+\.\d\d", cell))
        names = [cell for cell in cells if cell not in figures]
        for name in names[:-1]:
            if match := re.match(r"CNN\d(-tiny|-L| no BN)?", name):
                network = NETWORKS.get(match[0], match[0])
            elif match := re.fullmatch(r"([\w-]+)( \$\\epsilon_\\infty = ([\d./]+)\$)?", name):
                data = f"{match[1].replace('TINYIMAGENET', 'TinyImageNet')} {match[3]}"
            else:
                data = f"{data.split()[0]} {name}"  # the radius, in a column of its own
        if table == 1:
            for position, estimator in enumerate(("GRAD", "PGPE", "RGS")):
                yield Printed(f"{network}, {data}, {method(f'{names[-1]}-{estimator}')}", figures[position::3])
        else:
            yield Printed(f"{network}, {data}, {population(names[-1]) if table == 5 else method(names[-1])}", figures)


def table_lines(paper: str, table: int) -> Iterator[str]:
    """The lines with accuracies."""
    lines = paper.split(f"\nTable {table}: ")[1].splitlines()
    with_figures = [bool(re.search(r"\t\d+\.\d\d\b|>\d+\.\d\d\b", line)) for line in lines]
    first = with_figures.index(True)
    return iter(lines[first : with_figures.index(False, first)])


def population(cell: str) -> str:
    if cell == "Init":
        return "PGD"
    return "DeepPoly, PGPE" + (f" with {cell} members" if cell != "256" else "")


def method(cell: str) -> str:
    """A cell such as DEEPPOLY-RGS in the words of the configurations; without an estimator it is GRAD."""
    if cell in PEERS:
        return cell
    name, start = re.fullmatch(r"(.*?)( \(.*\))?", cell).groups()
    relaxation, estimator, rho = re.fullmatch(r"(.*?)(-GRAD|-PGPE|-RGS|-SAM)?(?: \$\\rho = (.*)\$)?", name).groups()
    words = RELAXATIONS.get(relaxation, relaxation), (estimator or "-GRAD")[1:]
    return ", ".join(words) + (f" with rho {rho}" if rho else "") + (" from IBP" if start == " (IBP)" else "")


@pytest.fixture(scope="module")
def command_line() -> Iterator[cli.GLSCLI]:
    """A command line whose parser reads the configurations; made once, because that takes longer than parsing."""
    with pytest.MonkeyPatch.context() as patch:
        made: list[cli.GLSCLI] = []
        patch.setattr(cli.GLSCLI, "_run_subcommand", lambda self, subcommand: made.append(self))
        main(["fit", "--config", str(ROWS[0])])
        yield made[0]


@pytest.fixture(scope="module")
def configs(command_line: cli.GLSCLI) -> dict[Path, Namespace]:
    """The resolved configurations."""
    return {row: command_line.parser.parse_args(["fit", "--config", str(row)]).fit for row in ROWS}


def test_every_row_of_the_paper_has_one_configuration(shared: Path) -> None:
    paper = (shared / "paper" / "gaussian_loss_smoothing.md").read_text()
    rows: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for table in range(1, 9):
        for setting, figures in printed(paper, table):
            rows.setdefault(setting, []).append((table, figures))
    assert len(rows) == 108

    shipped = {(line := described(row)).setting: (row, line) for row in ROWS}
    assert len(shipped) == len(ROWS)
    without_figures = {setting for setting, (_, line) in shipped.items() if line.figures is None}
    assert all(setting.endswith(", PGD") for setting in without_figures), "networks to start from"
    assert shipped.keys() - without_figures == rows.keys()
    for setting, found in rows.items():
        row, line = shipped[setting]
        (_, first), *others = found
        assert line.tables == [table for table, _ in found]
        assert line.figures == Printed(setting, first).line
        differing = [(table, figures) for table, figures in others if figures != first[: len(figures)]]
        for table, figures in differing:
            assert f"# Table {table} prints {Printed(setting, figures).line} for the same.\n" in row.read_text()


@every_row
def test_the_figures_for_reports_are_those_of_the_first_line(row: Path) -> None:
    line, figures = described(row), compose(row).content.get("paper")
    if line.figures is None:
        assert figures is None
        return
    tables = figures.pop("tables")
    assert tables == line.tables
    assert ", ".join(f"{figure:.2f} {name}" for name, figure in figures.items()) == line.figures


@every_row
def test_the_name_says_what_the_first_line_says(row: Path) -> None:
    line = described(row)
    words = f"table{line.tables[0]} {line.setting}".lower()
    for long, short in (
        (" with batchnorm", " bn"),
        (" without batchnorm", ""),
        ("deeppoly", "dp"),
        (" with loss fusion", " lf"),
        (" with", ""),
        (" members", ""),
        ("cifar-10", "cifar10"),
    ):
        words = words.replace(long, short)
    assert row.stem == re.sub(r"[ ,/-]+", "_", words)


DATA = {"MNIST": "MNIST", "CIFAR-10": "CIFAR10", "TinyImageNet": "TinyImageNet"}
CLASSES = {"CNN3-tiny": "CNN3Tiny", "CNN5-L": "CNN5L", "CROWN-IBP": "CROWNIBP", "alpha-CROWN": "AlphaCROWN"}
OBJECTIVES = {"PGD": "Adversarial", "MTL-IBP": "MTLIBP"} | {name: name for name in ("SABR", "STAPS", "TAPS")}
ESTIMATORS = {"GRAD": "Backprop"}


@every_row
def test_it_trains_what_its_first_line_says(
    row: Path, configs: dict[Path, Namespace], command_line: cli.GLSCLI
) -> None:
    config, line = configs[row], described(row)
    objects = command_line.parser.instantiate_classes(Namespace(fit=config, subcommand="fit")).fit
    module, data = objects.model, objects.data

    name, radius = line.data.split()
    assert type(data).__name__ == DATA[name]
    assert data.validation_size == 0, "the paper holds nothing out"
    numerator, _, denominator = radius.partition("/")
    assert module.epsilon == float(numerator) / float(denominator or 1)

    network, _, batch_norm = line.network.partition(" ")
    assert type(module.network).__name__ == CLASSES.get(network, network)
    assert any("batch_norm" in layer for layer, _ in module.network.named_children()) == (
        batch_norm == "with BatchNorm"
    )
    module.trace(data.input_shape)
    assert module.graph.num_outputs == data.num_classes
    module.objective.check(module.graph)
    spec = config.model.init_args.network.init_args
    assert (spec.mean, spec.std) == tuple(list(values) if values else None for values in (data.mean, data.std))

    relaxation, _, estimator = line.method.partition(", ")
    estimator = estimator.split()[0] if estimator else "GRAD"
    assert type(module.estimator).__name__ == ESTIMATORS.get(estimator, estimator)
    relaxation, _, fused = relaxation.partition(" with ")
    assert type(module.objective).__name__ == OBJECTIVES.get(relaxation, "Certified")
    if relaxation not in OBJECTIVES:
        assert type(module.relaxation).__name__ == CLASSES.get(relaxation, relaxation)
        assert module.objective.loss_fusion == (fused == "loss fusion")
    if match := re.search(r"with (\d+) members", line.method):
        assert module.estimator.population_size == int(match[1])
    if match := re.search(r"with rho ([\d.]+)", line.method):
        assert module.estimator.schedulable["rho"] == float(match[1])


@every_row
def test_schedules_are_those_of_appendix_f(row: Path, configs: dict[Path, Namespace]) -> None:
    config, line = configs[row], described(row)
    model, mnist = config.model.init_args, line.data.startswith("MNIST")
    ramp = config.epsilon_annealing.start_epoch, config.epsilon_annealing.end_epoch
    found = (
        model.optimizer.init_args.lr,
        model.scheduler.init_args.gamma,
        model.scheduler.init_args.milestones,
        config.trainer.max_epochs,
        config.trainer.gradient_clip_val,
        config.data.init_args.batch_size,
        ramp,
    )
    if "PGPE" in line.method:
        ramp = (0, 50) if line.data in ("MNIST 0.3", "CIFAR-10 8/255") else (0, 0)
        assert found == (3e-4, 0.4, [110, 130], 150, None, 512 if mnist else 128, ramp)
    elif mnist:
        assert found == (5e-4, 0.2, [50, 60], 70, 10, 256, (0, 20))
    else:
        assert found == (5e-4, 0.2, [120, 140], 160, 10, 128, (1, 81))
    assert list(config.sigma_decay.milestones) == (model.scheduler.init_args.milestones if "RGS" in line.method else [])
    assert config.sigma_decay.factor == 0.4
    starts_from_pgd = line.method == "PGD" or "PGPE" in line.method
    kaiming = starts_from_pgd or (line.data.startswith("Tiny") and not line.network.startswith("CNN7"))
    assert model.network.init_args.initialization == ("kaiming_uniform" if kaiming else "ibp")


def test_the_networks_to_start_from_are_there() -> None:
    named = [match for row in ROWS for match in re.findall(r"train (paper/\S+\.yaml) first", row.read_text())]
    starting = [row for row in ROWS if re.search("PGPE|from IBP", described(row).method)]
    assert len(named) == len(starting)
    for name, row in zip(named, starting, strict=True):
        start, own = described(SHIPPED / name), described(row)
        assert (start.network, start.data) == (own.network, own.data)
        assert compose(row).content["first_stage"] == name
        assert start.method == ("IBP, GRAD" if "from IBP" in own.method else "PGD")
        assert f"--model.init_from=runs/{Path(name).stem}/version_0/checkpoints/last.ckpt\n" in row.read_text()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Noise in the files of MNIST, CIFAR-10 and TinyImageNet."""
    generator = np.random.default_rng(0)

    def noise(*shape: int) -> Any:
        return generator.integers(256, size=shape, dtype=np.uint8)

    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", noise(8, 28, 28)), ("labels-idx1", np.arange(8, dtype=np.uint8))):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (raw / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())

    cifar = tmp_path / "cifar-10-batches-py"
    cifar.mkdir()
    for part in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (cifar / part).write_bytes(pickle.dumps({"data": noise(2, 3072), "labels": [0, 1]}))
    (cifar / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args, **kwargs: True)

    tiny = tmp_path / "tiny-imagenet-200"
    names = [f"n{number:03}" for number in range(200)]
    for name in names:
        (tiny / "train" / name / "images").mkdir(parents=True)
        Image.fromarray(noise(64, 64, 3)).save(tiny / "train" / name / "images" / f"{name}_0.JPEG")
    (tiny / "val" / "images").mkdir(parents=True)
    Image.fromarray(noise(64, 64, 3)).save(tiny / "val" / "images" / "val_0.JPEG")
    (tiny / "wnids.txt").write_text("\n".join(names))
    (tiny / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn000\t0\t0\t1\t1\n")
    return tmp_path


@pytest.mark.slow
@every_row
def test_two_steps(row: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At epsilon 0, where regularisers are at work, and at the target."""
    monkeypatch.chdir(tmp_path)
    words = ["--data.init_args.batch_size=2", "--data.init_args.train_size=4", f"--data.init_args.root={data}"]
    words += ["--epsilon_annealing.start_epoch=0", "--epsilon_annealing.end_epoch=1", "--trainer.accelerator=cpu"]
    words += ["--trainer.max_epochs=2", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0"]
    if "PGPE" in described(row).method:
        words.append("--model.init_args.estimator.init_args.population_size=4")
    if "swa_" in row.read_text():
        words += ["--trainer.callbacks.start_epoch=1", "--trainer.callbacks.every_n_steps=1"]
    if "tinyimagenet" in row.stem:
        words.append("--data.init_args.num_workers=0")
    main(["fit", "--config", str(row), *words])
    checkpoint = torch.load(f"runs/{row.stem}/version_0/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    written = (Path(f"runs/{row.stem}/version_0/config.yaml")).read_text()
    assert yaml.safe_load(written)["paper"] == compose(row).content.get("paper")
