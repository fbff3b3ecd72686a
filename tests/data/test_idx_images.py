import gzip
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from gls_lightning.data import MNIST, FashionMNIST
from gls_lightning.errors import ConfigurationError

NAMES = [name for name, _ in torchvision.datasets.MNIST.resources]


@pytest.fixture
def root(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture
def extracted(root: Path, tmp_path: Path) -> Path:
    """A root that holds the files without their compressed originals."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).with_suffix("").write_bytes(gzip.decompress((root / "MNIST" / "raw" / name).read_bytes()))
    return tmp_path


def test_equals_torchvision(extracted: Path, root: Path) -> None:
    for train in (True, False):
        expected = torchvision.datasets.MNIST(extracted, train=train)
        for images, labels in (MNIST(root=str(where)).load(train) for where in (root, extracted)):
            assert torch.equal(images[:, 0], expected.data)
            assert torch.equal(labels, expected.targets)


def test_an_epoch_takes_less_than_a_second(root: Path) -> None:
    data = MNIST(root=str(root), batch_size=256)
    data.setup("fit")

    def seconds() -> float:
        start = time.process_time()
        assert sum(len(x) for x, _, _ in data.train_dataloader()) == 60_000
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 1


def test_first_training_images(root: Path) -> None:
    data = MNIST(root=str(root), train_size=20_000)
    indices = torch.cat([index for _, _, index in data.train_dataloader()])
    assert torch.equal(indices.sort().values, torch.arange(20_000))
    assert len(data.test_set) == 10_000


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("data_module", [MNIST, FashionMNIST])
def test_missing_without_network_is_one_clear_error(data_module: type[MNIST], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"data\.root: '{tmp_path}' .* {data_module.__name__}"):
        data_module(root=str(tmp_path)).prepare_data()
    with pytest.raises(ConfigurationError, match="train-images-idx3-ubyte"):
        data_module(root=str(tmp_path)).setup("fit")


def test_root_may_start_at_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    MNIST(root="~").prepare_data()


@pytest.mark.usefixtures("no_network")
def test_a_broken_download_is_not_taken_for_the_data(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    shutil.copytree(root / "MNIST" / "raw", folder)
    broken = folder / NAMES[2]
    broken.chmod(0o644)
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(ConfigurationError, match="MNIST"):
        MNIST(root=str(tmp_path)).prepare_data()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("size", [0, 6, 1000])
def test_a_broken_extraction_is_not_taken_for_the_data(extracted: Path, size: int) -> None:
    MNIST(root=str(extracted)).prepare_data()
    broken = (extracted / "MNIST" / "raw" / NAMES[0]).with_suffix("")
    broken.write_bytes(broken.read_bytes()[:size])
    with pytest.raises(ConfigurationError, match="MNIST"):
        MNIST(root=str(extracted)).prepare_data()


@pytest.fixture
def server(root: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_downloads_from_the_first_mirror_that_answers(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors = [f"{server}/nothing/", f"{server}/MNIST/raw/"]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
    data = MNIST(root=str(tmp_path / "new"))
    data.prepare_data()
    images: Tensor = data.load(train=False)[0]
    assert images.shape == (10_000, 1, 28, 28)


def idx(values: Tensor, *, start: bytes = b"\0\0\x08") -> bytes:
    """An IDX file, by its definition."""
    header = start + bytes([values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.to(torch.uint8).numpy().tobytes()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The folder of a small data set of one's own, extracted."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        values = torch.randint(256, (3, 28, 28)) if "images" in name else torch.tensor([0, 9, 4])
        (folder / name).with_suffix("").write_bytes(idx(values))
    return folder


def test_small_files(small: Path) -> None:
    data = MNIST(root=str(small.parents[1]), batch_size=3)
    data.prepare_data()
    data.setup("fit")
    assert next(iter(data.val_dataloader()))[1].tolist() == [0, 9, 4]


IMAGES, LABELS = (NAMES[0].removesuffix(".gz"), NAMES[1].removesuffix(".gz"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, idx(torch.zeros(3, 28, 28))[:-1], "IMAGES is 2367 bytes long, where its header announces 2368"),
        (LABELS, idx(torch.zeros(3)) + b"0", "LABELS is 12 bytes long, where its header announces 11"),
        (LABELS, b"\0\0\x08\x01\0\0", "LABELS is cut off within its header"),
        (LABELS, b"", "LABELS is no IDX file"),
        (LABELS, idx(torch.zeros(3), start=b"\x1f\x8b\x08"), "LABELS is no IDX file"),
        (LABELS, idx(torch.zeros(1, 1, 1, 1)), "LABELS is no IDX file of one to three dimensions"),
        (LABELS, idx(torch.zeros(3), start=b"\0\0\x0d"), "LABELS holds values of the IDX type 13, not unsigned bytes"),
        (IMAGES, idx(torch.zeros(3, 28, 27)), r"IMAGES holds values of shape \(3, 28, 27\); it must be \(N, 28, 28\)"),
        (IMAGES, idx(torch.zeros(3)), r"IMAGES holds values of shape \(3,\); it must be \(N, 28, 28\)"),
        (LABELS, idx(torch.zeros(3, 28, 28)), r"LABELS holds values of shape \(3, 28, 28\); it must be \(N,\)"),
        (LABELS, idx(torch.zeros(2)), "training set of MNIST: there are 3 images and 2 labels"),
        (LABELS, idx(torch.tensor([0, 10, 1])), "training set of MNIST: image 1 has the label 10; .* are 0 to 9"),
    ],
)
def test_files_that_are_something_else_are_named(small: Path, name: str, content: bytes, message: str) -> None:
    (small / name).write_bytes(content)
    message = message.replace("IMAGES", str(small / IMAGES)).replace("LABELS", str(small / LABELS))
    data = MNIST(root=str(small.parents[1]))
    with pytest.raises(ConfigurationError, match=message) as refused:
        data.setup("fit")
    assert "\n" not in str(refused.value)
    if " holds values of shape" not in message and "training set" not in message:  # what makes it look for a download
        with pytest.raises(ConfigurationError, match=message):
            data.prepare_data()
