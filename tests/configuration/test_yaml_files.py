"""YAML that is read strictly."""

import re
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from gls_lightning.configuration._yaml_files import read_yaml
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"

pytestmark = pytest.mark.usefixtures("clean_place")


def written(text: str, name: str = "mine.yaml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3", "a", "1 and 3"),
        ("m:\n  e: 1\n  f: 2\n  e: 1\n", "e", "2 and 4"),
        ("m: [{e: 1}, {e: 1, 'e': 2}]", "e", "1 and 1"),
        ("x: &x {e: 1}\ny: *x\nz: {e: 1,\n e: 2}", "e", "3 and 4"),
        ("? a\n: 1\n? a\n: 2", "a", "1 and 3"),
        ("a: 1\n<<: {b: 1}\n<<: {c: 1}", "<<", "2 and 3"),
    ],
)
def test_a_key_that_stands_twice(text: str, key: str, lines: str) -> None:
    line = f"mine.yaml gives the key {key!r} twice, in lines {lines}; keep one of them"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(line)}$"):
        read_yaml(written(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: {e: 1}\nb: {e: 2}",
        "x: &x {e: 1}\ny: {<<: *x, e: 2}",
        "o: {i: &a {<<: {k: 1}, k: 2}}\nb: {<<: *a, k: 3}",
        "1: a\n'1': b",
        (TINY.read_text()),
    ],
)
def test_anything_else_reads_as_ever(text: str) -> None:
    assert read_yaml(written(text)) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "a: &a {b: *a}", "a: [", "\tb: 1", "a: 2024-13-45", "[" * 5000, "a: !!python/name:os.system"]
)
def test_invalid(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^mine\.yaml is no valid YAML: [^\n]*$"):
        read_yaml(written(text))


def test_references_to_references_take_no_time() -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    lines = [f"{name}: &{name} [*{before}, *{before}]" for before, name in pairwise(names)]
    content = read_yaml(written("\n".join(["a: &a [1, 2]", *lines])))
    assert content["z"][0][0] is content["x"]


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--config", "mine.yaml"],
        ["fit", "--config", "top.yaml"],
        ["configs", "--show", "top.yaml"],
        ["fit", "--config", str(TINY), "--model.attack=part.yaml"],
        ["fit", "--config", str(TINY), "--model.attack={class_path: PGD, class_path: PGD}"],
    ],
)
def test_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Configurations, their bases, and files and texts that stand for a part of one."""
    written(f"bases: [{TINY}]\nseed_everything: 1\nseed_everything: 2")
    written("bases: [mine.yaml]", "top.yaml")
    written("class_path: PGD\ninit_args: {steps: 1,\n  steps: 2}", "part.yaml")
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert re.search(r"gives the key '\w+' twice, in lines \d and \d; keep one of them", capsys.readouterr().err)


def test_the_report_of_a_run_says_it(tmp_path: Path) -> None:
    written("a: 1\na: 2", "config.yaml")
    main(["report", "."])
    text = unescape(Path("report.html").read_text())
    assert "gives the key 'a' twice, in lines 1 and 2" in text
