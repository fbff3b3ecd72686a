"""``gls report``, driven as users do, on runs of ``gls fit`` and on such as a test writes."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from PIL import Image

from gls_lightning.main import main
from gls_lightning.run_files import (
    ACCURACIES,
    ACCURACY_METRICS,
    CertificationSummary,
    LandscapeDescription,
    Share,
    TightnessCurves,
)
from gls_lightning.version import __version__

TINY = str(Path(__file__).parents[1] / "configs/tiny.yaml")
HOSTILE = "<script>alert(1)</script> | `a` [b](http://c) $x$ \"'&"

pytestmark = pytest.mark.usefixtures("clean_place")


class Page(HTMLParser):
    """The headings, notes, tables by their captions, references and pictures of a page."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, path: str | Path = "report.html") -> None:
        super().__init__()
        self.source = Path(path).read_text()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "tr":
            self.tables[self.texts["caption"][-1]].append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "caption":
            self.tables[self.texts[tag][-1]] = []
        if tag in ("th", "td"):
            self.tables[self.texts["caption"][-1]][-1].append(self.texts[tag][-1])

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    @property
    def notes(self) -> str:
        return "\n".join(self.texts.get("li", []))

    def row(self, caption: str, *begin: str) -> list[str]:
        """The one row of the table that begins so, without its header."""
        (row,) = (row for row in self.tables[caption][1:] if row[: len(begin)] == list(begin))
        return row[len(begin) :]

    def assert_needs_no_other_file(self) -> None:
        for tag, attributes in self.tags:
            assert tag not in ("script", "link", "iframe", "object", "base")
            for name, value in attributes.items():
                assert not name.startswith("on")
                if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                    assert str(value).startswith(("data:image/png;base64,", "#")), value
        assert set(re.findall(r"url\((.)", self.source)) <= {"#"}
        assert "@import" not in self.source
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        used = {target for pair in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', self.source) for target in pair}
        assert used - {""} <= set(ids)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with two runs that differ in their seeds, the first of them certified."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in (0, 1):
            main(["fit", "--config", TINY, f"--seed_everything={seed}", "--trainer.max_epochs=2"])
        main(["certify", "--ckpt_path", "runs/tiny/version_0/checkpoints/last.ckpt", "--samples=20"])
    return folder


@pytest.fixture
def runs(trained: Path) -> Path:
    """A copy of these runs in the working directory."""
    shutil.copytree(trained / "runs", "runs")
    return Path("runs/tiny")


def last_validation(run: Path) -> dict[str, float]:
    """Accuracies in percent."""
    with (run / "metrics.csv").open() as lines:
        *_, last = (row for row in csv.DictReader(lines) if row["val/loss"])
    return {name: 100 * float(last[f"val/{name}_accuracy"]) for name in ACCURACIES}


def write_run(
    name: str,
    accuracies: tuple[float, float, float] | None = None,
    *,
    seed: int = 0,
    certified: dict[str, int] | None = None,
    **sections: Any,
) -> Path:
    """A run of one epoch; ``certified`` gives the counts of images of its summary."""
    run = Path("runs", name)
    run.mkdir(parents=True)
    model = {"epsilon": 0.1, "relaxation": {"class_path": "gls_lightning.relaxations.IBP"}}
    config = {"seed_everything": seed, "trainer": {"max_epochs": 1}, "model": {"init_args": model}, **sections}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    if accuracies:
        columns = [f"val/{kind}_accuracy" for kind in ACCURACIES]
        lines = [["epoch", "train/loss", *columns], [0, 2.5, "", "", ""], [0, "", *accuracies]]
        (run / "metrics.csv").write_text("".join(",".join(map(str, line)) + "\r\n" for line in lines))
    if certified:
        write_summary(run / "certification", certified)
    return run


def write_summary(folder: Path, counts: dict[str, int], epsilon: float = 0.1, **others: Any) -> None:
    share = Share(counts["total"], seconds=3.0, longest=1.0, mean=0.1, share=1.0)
    CertificationSummary(
        checkpoint="last.ckpt",
        network="CNN3",
        options={},
        fingerprint={"epsilon": epsilon, "dataset": "MNIST"},
        missing=0,
        **{f"{name}_accuracy": counts[name] / counts["total"] for name in ACCURACIES},
        intervals=dict.fromkeys(ACCURACY_METRICS, (0.125, 0.875)),
        **{"total": share, "stages": {"IBP": share}, "hard": share},
        verdicts={
            "certified": share,
            "falsified": replace(share, samples=0),
            "misclassified": replace(share, samples=0),
        },
        **others,
    ).write(folder)


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which the command fails."""
    with pytest.raises(SystemExit) as exit_:
        main(["report", *words])
    assert exit_.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: "))
    return line


class TestRunsOfFit:
    def test_one_run(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = runs / "version_0"
        main(["report", str(run)])
        assert capsys.readouterr().out.split() == [str(run / "report.html"), str(run / "report.md")]
        page = Page(run / "report.html")
        page.assert_needs_no_other_file()
        expected = last_validation(run)
        name = "CNN3Tiny, Digits, DeepPoly, RGS"
        cells = page.row("accuracies over seeds", name, "1", "last validation")
        assert cells == [f"{expected[kind]:.2f} ± —\n95 %: —" for kind in ACCURACIES]
        summary = json.loads((run / "certification/last/summary.json").read_text())
        cells = page.row("accuracies over seeds", name, "1", "gls certify, 20 images")
        for kind, cell in zip(ACCURACIES, cells, strict=True):
            low, high = (100 * end for end in summary["intervals"][f"{kind}_accuracy"])
            assert cell == f"{100 * summary[f'{kind}_accuracy']:.2f} ± —\n95 %: {low:.2f} to {high:.2f}"
        assert page.row("verdicts", "misclassified")[0] == str(summary["verdicts"]["misclassified"]["samples"])
        assert page.row("settings", "estimator") == ["RGS"]
        assert page.row("settings", "learning rate") == ["0.0005"]
        assert page.texts["code"] == [(run / "config.yaml").read_text()]
        assert page.notes == ""
        captions = page.texts["figcaption"]
        assert [caption.removesuffix(" over epochs") for caption in captions] == [
            "certified accuracy over the seconds for each image",
            "open over the seconds for each image",
            *("training loss", "epsilon", "sigma", "learning rate"),
            *(f"{kind} accuracy" for kind in ACCURACIES),
        ]
        started, duration, version, commit = page.row("origin of the runs", "tiny/version_0", name, "0")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", started)
        assert float(duration.removesuffix(" s")) > 0
        assert (version, bool(commit)) == (__version__, True)

    def test_certified_accuracy_over_time_is_that_of_the_records(self, runs: Path) -> None:
        run = runs / "version_0"
        main(["report", str(run)])
        (path,) = (run / "certification/last").glob("records-*.jsonl")
        records = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        (of_run,) = json.loads((run / "report_figures/certified-over-budget.json").read_text())
        assert of_run["run"] == "tiny/version_0"
        decided = [record for record in records if record["verdict"] not in ("unknown", "error")]
        assert of_run["seconds"] == sorted({record["seconds"] for record in decided})
        for limit, certified, still_open in zip(*(of_run[k] for k in ("seconds", "certified", "open")), strict=True):
            in_time = [record["verdict"] for record in decided if record["seconds"] <= limit]
            assert certified == in_time.count("certified") / 20
            assert still_open == (20 - len(in_time)) / 20
        with (run / "report_figures/certified-over-budget.csv").open() as lines:
            rows = list(csv.DictReader(lines))
        assert [float(row["certified"]) for row in rows] == of_run["certified"]
        cells = Page(run / "report.html").row("certified accuracy in percent by seconds for each image")
        stages = [record["stage"] for record in decided if record["verdict"] == "certified"]
        one_pass = sum(stage in ("IBP", "CROWNIBP", "DeepPoly") for stage in stages)
        assert cells[3] == f"{5 * one_pass:.2f}"
        assert cells[-2:] == [f"{5 * len(stages):.2f}", f"{5 * (20 - len(decided)):.2f}"]

    def test_two_seeds_by_the_name_of_the_configuration(self, runs: Path) -> None:
        evaluation = runs / "version_2"  # as gls test and gls validate leave it
        evaluation.mkdir()
        (evaluation / "metrics.csv").write_text(
            "epoch,step,test/natural_accuracy,val/natural_accuracy\r\n0,0,0.5,0.5\r\n"
        )
        main(["report", TINY, str(runs / "version_1")])
        page = Page()
        page.assert_needs_no_other_file()
        assert page.texts["h2"] == [
            *("Accuracies", "Certified accuracy over time", "Curves", "Settings"),
            *("Run tiny/version_0", "Run tiny/version_1"),
        ]
        (cells,) = (row[1:] for row in page.tables["accuracies over seeds"][1:])
        assert cells[:2] == ["2", "last validation"]
        both = [last_validation(runs / f"version_{seed}") for seed in (0, 1)]
        for kind, cell in zip(ACCURACIES, cells[2:], strict=True):
            values = [of_run[kind] for of_run in both]
            half = 12.7062 * stdev(values) / 2**0.5
            assert cell.splitlines()[0] == f"{mean(values):.2f} ± {stdev(values):.2f}"
            ends = [float(end) for end in cell.splitlines()[1].removeprefix("95 %: ").split(" to ")]
            assert ends == pytest.approx([mean(values) - half, mean(values) + half], abs=0.01)
        assert (
            "only 1 of 2 seeds have a summary of gls certify at the target radius, so validation stands" in page.notes
        )
        loss = next(a["aria-label"] for _, a in page.tags if str(a.get("aria-label")).startswith("training loss"))
        both = []
        for seed in (0, 1):
            with (runs / f"version_{seed}/metrics.csv").open() as lines:
                last = [row["train/loss"] for row in csv.DictReader(lines) if row["epoch"] == "1"]
            both.append(mean(float(value) for value in last if value))
        assert str(loss).endswith(f"CNN3Tiny, Digits, DeepPoly, RGS ends at {mean(both):.4g}")

    def test_markdown_shows_the_same(self, runs: Path) -> None:
        main(["report", str(runs), "--output=all of them.html", "--title=All of them"])
        tokens = MarkdownIt("commonmark").enable("table").parse(Path("all of them.md").read_text())
        inline = [child for token in tokens for child in token.children or []]
        images = [token.attrs["src"] for token in inline if token.type == "image"]
        assert sorted(images) == sorted(
            f"all%20of%20them_figures/{p.name}" for p in Path("all of them_figures").glob("*.png")
        )
        for path in Path("all of them_figures").glob("*.png"):
            with Image.open(path) as picture:
                assert picture.format == "PNG"
        page = Page("all of them.html")
        assert page.texts["title"] == page.texts["h1"] == ["All of them"]
        pairs = pairwise(tokens)
        cells = [token.content for before, token in pairs if before.type in ("th_open", "td_open")]
        header_and_body = [
            cell.replace("\n", "<br>") for table in page.tables.values() for row in table for cell in row
        ]
        main(["report", str(runs), "--output=all of them.html"])  # takes the place of the one before
        assert set(header_and_body) <= {cell.replace("\\", "") for cell in cells}
        (block, _) = (token for token in tokens if token.type == "fence")
        assert yaml.safe_load(block.content)["seed_everything"] == 0


class TestComparison:
    def test_certified_seeds_beside_the_papers_numbers(self) -> None:
        paper = {"tables": [1, 7], "natural": 97.25, "certified": 91.5}
        for seed, count in enumerate((90, 92, 97)):
            counts = {"total": 100, "natural": count, "certified": count - 10, "adversarial": count - 5}
            write_run(f"a/version_{seed}", (0.5, 0.25, 0.5), seed=seed, certified=counts, paper=paper)
        main(["report", "runs"])
        begin = "network default, data default, IBP, estimator default\npaper's Tables 1, 7", "3"
        natural, certified, adversarial = Page().row("accuracies over seeds", *begin, "gls certify, 100 images")
        assert natural == "93.00 ± 3.61\n95 %: 84.04 to 101.96\npaper: 97.25\ndifference: -4.25"
        assert certified == "83.00 ± 3.61\n95 %: 74.04 to 91.96\npaper: 91.50\ndifference: -8.50"
        assert adversarial == "88.00 ± 3.61\n95 %: 79.04 to 96.96"
        natural, *_ = Page().row("accuracies over seeds", *begin, "last validation")
        assert natural == "50.00 ± 0.00\n95 %: 50.00 to 50.00\npaper: 97.25\ndifference: -47.25"

    def test_summaries_of_different_images_or_radii_are_not_mixed(self) -> None:
        counts = {"total": 100, "natural": 90, "certified": 80, "adversarial": 85}
        first = write_run("a/version_0", (0.5, 0.25, 0.5), certified=counts)
        write_run("a/version_1", (0.5, 0.25, 0.5), seed=1, certified={**counts, "total": 200})
        write_summary(first / "epsilon_0.3", {**counts, "total": 1000}, epsilon=0.3)
        main(["report", "runs/a"])
        page = Page()
        assert "different images (100 of MNIST, 200 of MNIST), so validation stands for all" in page.notes
        assert [row[2] for row in page.tables["accuracies over seeds"]] == ["measured by", "last validation"]
        assert page.row("accuracies of each run in percent", "a/version_0")[-4:] == ["90.00", "80.00", "85.00", "100"]
        assert "epsilon_0.3/" in page.texts["h4"]

    def test_the_pareto_front_of_all_runs(self) -> None:
        for index, (natural, certified) in enumerate([(0.9, 0.5), (0.8, 0.6), (0.7, 0.55), (0.6, 0.7)]):
            write_run(f"a/version_{index}", (natural, certified, 0.7), data={"batch_size": index // 2}, seed=index)
        write_run("b/version_0", data={"batch_size": 5})
        main(["report", "runs"])
        page = Page()
        (front,) = (str(a["aria-label"]) for _, a in page.tags if "Pareto" in str(a.get("aria-label")))
        assert front.endswith(
            "60.00 natural, 70.00 certified; 80.00 natural, 60.00 certified; 90.00 natural, 50.00 certified"
        )
        (caption,) = (text for text in page.texts["figcaption"] if text.startswith("certified over natural"))
        assert "by last validation" in caption
        assert caption.endswith("without: network default, data default, IBP, estimator default (b/version_0)")
        assert page.row("values by configuration", "data.batch_size") == ["0", "1", "5"]


class TestManyRuns:
    def test_a_configuration_has_one_line_and_the_same_colour_everywhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for batch_size, certified in ((1, 0.5), (2, 0.7), (3, 0.9)):
            for seed in (0, 1):
                accuracies = (0.95, certified + seed / 100, 0.9)
                write_run(f"b{batch_size}/version_{seed}", accuracies, seed=seed, data={"batch_size": batch_size})
        figures = saved_figures(monkeypatch)
        main(["report", "runs"])
        by_label = {axis.get_ylabel(): axis for figure in figures for axis in figure.axes if len(axis.collections) == 3}
        lines = by_label["certified accuracy [%]"].lines
        assert [list(line.get_ydata()) for line in lines] == [pytest.approx([100 * c + 0.5]) for c in (0.5, 0.7, 0.9)]
        ends = [
            sorted({y for _, y in band.get_paths()[0].vertices})
            for band in by_label["certified accuracy [%]"].collections
        ]
        assert ends == [pytest.approx([100 * c, 100 * c + 1]) for c in (0.5, 0.7, 0.9)]
        (pareto,) = (axis for figure in figures for axis in figure.axes if axis.get_xlabel().startswith("natural"))
        colours = [line.get_color() for line in lines]
        assert len(set(colours)) == 3
        assert [line.get_color() for line in pareto.lines[1:]] == colours
        assert [line.get_color() for line in by_label["natural accuracy [%]"].lines] == colours

    def test_settings_that_differ_are_marked(self) -> None:
        for index, relaxation in enumerate(("IBP", "DeepPoly")):
            model = {"init_args": {"epsilon": 0.1, "relaxation": {"class_path": relaxation}}}
            write_run(f"a/version_{index}", (0.5, 0.5, 0.5), model=model)
        main(["report", "runs"])
        page = Page()
        assert page.tables["settings"][0] == ["setting", "IBP", "DeepPoly"]
        marked = re.findall('<tr class="marked"><th scope="row">(.*?)</th>', page.source)
        assert marked == [page.tables["settings"][1][0]] == ["relaxation"]
        assert "| **relaxation** | **IBP** | **DeepPoly** |" in Path("report.md").read_text()
        assert page.notes == ""

    def test_a_summary_of_an_earlier_version_is_named_and_others_are_shown(self) -> None:
        for index, decisions in enumerate([{}, {"certified": {"IBP": [0.5]}, "falsified": {}, "misclassified": {}}]):
            run = write_run(f"a/version_{index}", (0.5, 0.5, 0.5), seed=index)
            write_summary(run / "certification", dict.fromkeys(("total", *ACCURACIES), 1), decisions=decisions)
        main(["report", "runs"])
        page = Page()
        assert "a/version_0: an earlier version wrote its summary, without times" in page.notes
        (row,) = page.tables["certified accuracy in percent by seconds for each image"][1:]
        assert row[1:] == ["1", "1", "100.00", "100.00", "0.00"]


def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Returns a list that grows by each figure that is saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def savefig(figure: Figure, *words: Any, **options: Any) -> None:
        if figure not in figures:
            figures.append(figure)
        save(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


class TestWhatIsAbsentOrDamaged:
    def test_a_run_without_metrics(self) -> None:
        run = write_run("wandb/abc")
        main(["report", str(run)])
        page = Page(run / "report.html")
        assert "wandb/abc: there is no metrics.csv" in page.notes
        assert "not finished" not in page.notes
        assert page.row("accuracies over seeds", "network default, data default, IBP, estimator default")[2:] == [
            "—",
            "—",
            "—",
        ]

    def test_files_that_are_torn(self) -> None:
        run = write_run("a/version_0", (0.5, float("nan"), 0.5), trainer={"max_epochs": 3})
        with (run / "metrics.csv").open("a") as file:
            file.write("1,2.4,,")
        for name, text in {"certification": '{"total"', "other": "[]", "nan": '{"natural_accuracy": NaN}'}.items():
            (run / name).mkdir()
            (run / name / "summary.json").write_text(text)
        (run / "begun").mkdir()
        (run / "begun/records-0-5-rank0.jsonl").touch()
        main(["report", str(run)])
        page = Page(run / "report.html")
        assert "Not logged: epsilon, sigma, learning rate." in page.texts["p"]
        for note in (
            "a/version_0: the last line of metrics.csv is incomplete and left out",
            "a/version_0: val/certified_accuracy is not finite in epoch 0",
            "a/version_0 has no certified accuracy in its last validation",
            "not finished: 2 of 3 epochs are missing",
            *(f"{name}/summary.json is no summary of gls certify" for name in ("certification", "other", "nan")),
            "begun has records but no summary.json; gls certify goes on there",
        ):
            assert note in page.notes

    def test_a_configuration_that_is_no_yaml(self) -> None:
        run = write_run("a/version_0", (0.5, 0.5, 0.5))
        (run / "config.yaml").write_text("a: [")
        main(["report", str(run / "config.yaml")])
        page = Page(run / "report.html")
        assert "is no valid YAML" in page.notes
        assert page.texts["code"] == ["a: ["]
        assert page.row("accuracies over seeds", "a/version_0", "1")[1] == "50.00 ± —\n95 %: —"

    def test_hostile_names(self) -> None:
        run = write_run(HOSTILE.replace("/", ":"), (0.5, 0.5, 0.5), data={"class_path": f"{HOSTILE}\n```\n# heading"})
        other = write_run(f"{HOSTILE.replace('/', ':')}2", (0.5, 0.5, 0.5))
        (run / "metrics.csv").write_text("epoch,statistics/$<b>$/a,statistics/$<b>$/c\r\n0,1,2\r\n1,3,4\r\n")
        main(["report", str(run), str(other), f"--title={HOSTILE}"])
        page = Page()
        page.assert_needs_no_other_file()
        assert page.texts["h1"] == [HOSTILE]
        tokens = MarkdownIt("commonmark").enable("table").parse(Path("report.md").read_text())
        inline = [child for token in tokens for child in token.children or []]
        assert [token for token in inline if token.type in ("link_open", "code_inline")] == []
        assert {token.content for token in inline if token.type == "html_inline"} <= {"<br>"}
        assert "".join(token.content for token in tokens[1].children or []) == HOSTILE
        assert len([token for token in tokens if token.type == "heading_open" and token.tag == "h1"]) == 1


def test_the_same_runs_give_the_same_bytes_without_torch_and_lightning() -> None:
    run = write_run("a/version_0", (0.5, 0.5, 0.5))
    main(["report", str(run)])
    files = [run / "report.html", run / "report.md", *(run / "report_figures").iterdir()]
    before = {file: file.read_bytes() for file in files}
    code = (
        f"import sys, gls_lightning.main as m; m.main(['report', {str(run)!r}]);"
        "assert not {'torch', 'lightning', 'pytorch_lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert before == {file: file.read_bytes() for file in files}


def picture(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (len(path.parts) * 10, 10)).save(path)
    return path.read_bytes()


def test_pictures_and_curves_of_diagnostics() -> None:
    run = write_run("a/version_0")
    columns = [f"landscape/IBP/{sigma}/{score}" for sigma in ("original", "sigma_0.1") for score in ("jump", "bend")]
    columns += [f"statistics/{name}" for name in ("relu/conv1/active", "relu/conv1/unstable", "tightness")]
    columns += [f"statistics/gradient/{name}" for name in ("cosine", "norm")]
    lines = [["epoch", *columns], [0, *range(9)], [1, 100000, *range(8)]]
    (run / "metrics.csv").write_text("".join(",".join(map(str, line)) + "\r\n" for line in lines))
    TightnessCurves(None, "CNN3", "MNIST", 0.1, "float64", 3, [0, 0.1], {}).write(run)  # where earlier versions left it
    shown = [picture(run / "landscape/curves.png"), picture(run / "tightness.png")]
    shown.append(picture(run / "landscape/epoch=10/surface.png"))
    picture(run / "landscape/epoch=9/curves.png")
    shown.append(picture(run / "landscape/epoch=20-step=99/curves.png"))  # of a checkpoint of this name
    axes = "gradient steps", "a random line"
    LandscapeDescription("Around <the> minimum", {}, axes, (0.5, 2.0)).write(run / "landscape")
    main(["report", str(run)])
    page = Page(run / "report.html")
    page.assert_needs_no_other_file()
    assert {"Around <the> minimum", "axes: gradient steps; a random line"} <= set(page.texts["p"])
    assert {"Loss landscape during training, epoch 10", "Loss landscape of epoch=20-step=99"} <= set(page.texts["h3"])
    assert "landscape.json does not say what these pictures are of: FileNotFoundError" in page.notes
    sources = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(attributes["alt"] for attributes in sources)
    assert len(sources) == 4
    copies = {path.read_bytes() for path in (run / "report_figures").iterdir()}
    assert set(shown) <= copies
    captions = [text.removesuffix(" over epochs") for text in page.texts["figcaption"]]
    assert captions[-6:] == [
        *("landscape/IBP/bend", "landscape/IBP/jump"),
        *("statistics/gradient/cosine", "statistics/gradient/norm", "statistics/relu/conv1", "statistics/tightness"),
    ]


class TestFindsRuns:
    def test_each_once_in_natural_order(self) -> None:
        for version in (10, 9):
            write_run(f"a/version_{version}", seed=version)
        (Path("runs/a/version_9/inner")).mkdir()
        shutil.copy("runs/a/version_9/config.yaml", "runs/a/version_9/inner")
        main(["report", "runs", "runs/a/version_10", "runs/a/version_9/config.yaml", str(Path("runs/a").absolute())])
        assert Page().texts["h2"][3:] == ["Run a/version_9", "Run a/version_10"]

    def test_directories_of_the_same_name(self) -> None:
        for folder in ("x/a", "y/a"):
            write_run(f"{folder}/version_0", data={"root": folder})
        main(["report", "runs/x", "runs/y"])
        assert Page().texts["h2"][3:] == ["Run x/a/version_0", "Run y/a/version_0"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["empty"], "RUN is empty, a directory with neither config.yaml nor metrics.csv; there must be a run"),
            (
                ["cnn3_dp.yaml"],
                "RUN is cnn3_dp.yaml, a configuration without runs here; there must be a run at most two",
            ),
            (
                ["cnn3_pd.yaml"],
                "RUN is cnn3_pd.yaml, which is no directory, and there is no configuration cnn3_pd.yaml",
            ),
            (["empty", "--output=page.pdf"], "output is page.pdf; its name must end in .html"),
            (["empty", "--output=a/b.html"], "output is a/b.html; there is no directory a"),
            (["empty", "--output=empty/notes.html"], "but empty/notes.md, which would be replaced, is no report"),
        ],
    )
    def test_bad_input(self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        Path("empty/too/far/below").mkdir(parents=True)
        Path("empty/too/far/below/config.yaml").touch()
        Path("empty/notes.md").write_text("My notes")
        assert message in fails(capsys, *words)
        assert {path.name for path in Path.cwd().iterdir()} == {"empty"}
        assert Path("empty/notes.md").read_text() == "My notes"

    def test_a_figure_that_fails_leaves_the_page_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = write_run("a/version_0", (0.5, 0.5, 0.5))
        (run / "report.html").write_text("before")
        monkeypatch.setattr(Figure, "savefig", lambda *_, **__: pytest.fail("disk full"))
        with pytest.raises(pytest.fail.Exception, match="disk full"):
            main(["report", str(run)])
        assert (run / "report.html").read_text() == "before"
