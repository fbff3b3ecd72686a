"""The notebooks run from top to bottom, and are kept without what running leaves in them."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    """One for all, because importing PyTorch and Lightning takes as long as most of the notebooks."""
    manager = KernelManager()
    manager.start_kernel(cwd=str(tmp_path_factory.mktemp("notebooks")))
    yield manager
    manager.shutdown_kernel(now=True)


def test_there_are_four() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["extending", "own_project", "paradox", "quickstart"]


@each_notebook
def test_it_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)


@each_notebook
def test_it_runs_and_leaves_no_files(path: Path, kernel: KernelManager, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    clear = nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path}")  # nothing of the notebook before
    notebook.cells.insert(0, clear)
    NotebookClient(notebook, km=kernel, timeout=600).execute()
    assert not list(tmp_path.iterdir())
