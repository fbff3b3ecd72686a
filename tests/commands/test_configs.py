"""The list of the shipped configurations."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gls_lightning.configuration.composition import SHIPPED, compose
from gls_lightning.main import main


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """Names and descriptions."""
    main(["configs", *words])
    lines = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
    return {name: line for name, line in (entry.strip().split("  ", 1) for entry in lines)}


def test_everything_but_the_fragments_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)
    files = {path.relative_to(SHIPPED) for path in SHIPPED.rglob("*.yaml")}
    assert {Path(name) for name in found} == {path for path in files if path.parts[0] != "fragments"}
    for name, line in found.items():
        first = (SHIPPED / name).read_text().splitlines()[0]
        assert first == f"# {line.strip()}"
    assert len(set(found.values())) == len(found)


def test_every_fragment_says_what_it_is() -> None:
    for path in (SHIPPED / "fragments").glob("*.yaml"):
        assert path.read_text().startswith("# ")


def test_folder_by_folder(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "a"])
    groups = capsys.readouterr().out.rstrip().split("\n\n")
    titles = [group.splitlines()[0] for group in groups]
    assert titles[0] == "experiments:"
    assert {"rows of the paper's tables:", "W&B sweeps:"} < set(titles)
    rows = groups[titles.index("rows of the paper's tables:")].splitlines()[1:]
    assert all(line.startswith("  paper/") for line in rows)
    assert len({line.index("Table") for line in rows}) == 1, "in columns"


def test_filter(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(listed(capsys, "Tables 1, 5, 7", "MNIST 0.1", "PGPE")) == {"paper/table1_cnn3_mnist_0.1_dp_pgpe.yaml"}
    assert set(listed(capsys, "rgs", "CNN5-L,", "MNIST")) == {"paper/table3_cnn5_l_mnist_0.1_dp_rgs.yaml"}
    assert set(listed(capsys, "Scikit-Learn")) == {"digits_quickstart.yaml"}


def test_nothing_found(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "cnn99"])
    assert capsys.readouterr().out == "no shipped configuration has 'cnn99' in its name and description\n"


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "--show", "cnn5_dp_rgs.yaml"])
    assert yaml.safe_load(capsys.readouterr().out) == compose(SHIPPED / "cnn5_dp_rgs.yaml").content


def test_show_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["configs", "--show", "cnn5_dp_rsg.yaml"])
    assert exit_.value.code == 2
    assert "near: cnn5_dp_rgs.yaml" in capsys.readouterr().err


def test_needs_no_pytorch_and_bears_a_closed_pipe() -> None:
    code = "import sys, gls_lightning.main as m; m.main(['configs']); assert 'torch' not in sys.modules"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_help_mentions_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    assert "configs  " in capsys.readouterr().out
