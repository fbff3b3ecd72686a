"""Files that are there completely or not at all."""

import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gls_lightning.run_files.whole_file import append_whole, write_whole


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write(path: Path, text: str) -> None:
    write_whole(path, lambda draft: draft.write_text(text))


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        seen.append((Path(f"/proc/self/fd/{descriptor}").resolve().name, (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "a", "text")
    (draft, named_before), (folder, named_after) = seen
    assert draft.startswith(".a.")
    assert not named_before
    assert (folder, named_after) == (tmp_path.name, True)


@pytest.mark.parametrize("fails", ["write", "flush"])
def test_a_full_disk_leaves_what_was_there(fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write(path, "before")
    if fails == "flush":
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_whole(path, full if fails == "write" else lambda draft: draft.write_text("after"))
    assert error.value.filename == str(path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "before")]


def test_drafts_of_dead_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    kept = [f".a.{host}.{os.getppid()}", f".a.elsewhere.{dead.pid}", f".a.{host}.x", f"a.{host}.{dead.pid}"]
    for name in [*kept, f".a.{host}.{dead.pid}", f".b.csv.{host}.{dead.pid}"]:
        (tmp_path / name).touch()
    write(tmp_path / "a", "text")
    assert {file.name for file in tmp_path.iterdir()} == {"a", *kept}


def test_appending(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one,")
    append_whole(path, b"two,")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            append_whole(path, b"three,")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.filename == str(path)
    assert path.read_text() == "one,two,"
