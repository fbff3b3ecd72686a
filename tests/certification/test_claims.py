import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from gls_lightning.certification.claims import Claims

fork = get_context("fork")  # a fresh interpreter would take seconds to import PyTorch


@contextmanager
def elsewhere(work: Callable[[Connection], None]) -> Iterator[tuple[Connection, int]]:
    """Another process, which is killed at the end, and a pipe to it."""
    here, there = fork.Pipe()
    process = fork.Process(target=work, args=(there,), daemon=True)
    process.start()
    assert process.pid is not None
    yield here, process.pid
    process.kill()
    process.join()


def claim(path: Path, *indices: int) -> Callable[[Connection], None]:
    def work(pipe: Connection) -> None:
        claims = Claims(path)
        pipe.send([claims.take(index) for index in indices])
        pipe.recv()
        claims.give_back()
        pipe.send("given back")
        pipe.recv()

    return work


def test_a_claim_keeps_others_out_until_it_is_given_back(tmp_path: Path) -> None:
    mine = Claims(tmp_path / "claims")
    assert mine.take(3)
    with elsewhere(claim(tmp_path / "claims", 3, 4, 5)) as (pipe, _):
        assert pipe.recv() == [False, True, True]
        assert [mine.take(index) for index in (4, 5, 6)] == [False, False, True]
        assert [mine.is_taken(index) for index in (3, 4, 5, 6, 7)] == [False, True, True, False, False]
        assert mine.others() == 1
        pipe.send("give back")
        assert pipe.recv() == "given back"
        assert mine.take(4)
    assert mine.others() == 0
    mine.close()


def test_claims_die_with_their_process(tmp_path: Path) -> None:
    mine = Claims(tmp_path / "claims")
    with elsewhere(claim(tmp_path / "claims", *range(100))) as (pipe, process):
        assert pipe.recv() == [True] * 100
        assert not mine.take(17)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        assert all(mine.take(index) for index in range(100))
        assert mine.others() == 0
    mine.close()


def test_files_that_another_process_writes(tmp_path: Path) -> None:
    def write(pipe: Connection) -> None:
        Claims(tmp_path / "claims").own("records-0-4-rank0.jsonl")
        pipe.send("at work")
        pipe.recv()

    mine = Claims(tmp_path / "claims")
    with elsewhere(write) as (pipe, _):
        assert pipe.recv() == "at work"
        assert mine.is_written("records-0-4-rank0.jsonl")
        assert not mine.is_written("records-0-4-rank1.jsonl")
    assert not mine.is_written("records-0-4-rank0.jsonl")
    mine.close()


def test_every_byte_is_one_that_a_file_may_have(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    assert claims.take(2**31 - 2**16 - 1)
    for number in range(200):
        claims.own(f"records-0-50-rank0-{number}.jsonl")
    assert claims.problem is None
    claims.close()


def test_to_look_is_not_to_take(tmp_path: Path) -> None:
    mine = Claims(tmp_path / "claims")
    assert not mine.is_taken(3)
    with elsewhere(claim(tmp_path / "claims", 3)) as (pipe, _):
        assert pipe.recv() == [True]
    mine.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")

    def count(pipe: Connection) -> None:
        claims = Claims(tmp_path / "claims")
        for _ in range(200):
            with claims.alone():
                path.write_text(str(int(path.read_text()) + 1))
        pipe.send("done")

    with elsewhere(count) as (one, _), elsewhere(count) as (two, _):
        assert (one.recv(), two.recv()) == ("done", "done")
    assert path.read_text() == "400"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EINVAL])
def test_without_locks_every_claim_is_granted(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "lockf", fail)
    with pytest.warns(UserWarning, match="takes no locks .* decide the same samples; that costs time"):
        claims = Claims(tmp_path / "claims")
    assert claims.problem == os.strerror(number)
    assert (claims.take(3), claims.is_taken(4), claims.others()) == (True, False, 0)
    with claims.alone():
        pass
    claims.give_back()
    claims.close()


def test_a_directory_that_takes_no_files() -> None:
    with pytest.warns(UserWarning, match="/proc/claims takes no locks"):
        claims = Claims(Path("/proc/claims"))
    assert claims.problem is not None
    assert claims.take(3)
    claims.close()
