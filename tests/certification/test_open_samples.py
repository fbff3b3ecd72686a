import random
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from gls_lightning.certification import Record, Verdict
from gls_lightning.certification.claims import Claims
from gls_lightning.certification.open_samples import OpenSamples
from gls_lightning.certification.record_directory import Found, RecordDirectory

fork = get_context("fork")  # a fresh interpreter would take seconds to import PyTorch
LABELS = [1] * 240


def is_open(index: int, found: Found) -> bool:
    return index not in found.records


def work(path: Path, indices: range, *, batch_size: int = 16, seconds: float = 0.0, seed: int = 0) -> None:
    """Decides samples as gls certify does, but by sleeping."""
    directory = RecordDirectory(path, {"classes": 2}, LABELS)
    claims = Claims(path / "claims")
    samples = OpenSamples(directory, claims, indices, is_open=is_open, batch_size=batch_size, processes=1)
    file, generator = None, random.Random(seed)
    for batch in samples:
        file = file or directory.new_file(indices, 0, {"stages": {"IBP": {}}})
        for index in batch:
            time.sleep(generator.expovariate(1 / seconds) if seconds else 0)
            file.append(Record(index, 1, 1, Verdict.CERTIFIED, "IBP", 0.25, seconds))
        file.sync()
    claims.close()


def attempts(path: Path) -> Counter[int]:
    return sum(RecordDirectory(path, {"classes": 2}, LABELS).read().attempts.values(), Counter())


def test_alone(tmp_path: Path) -> None:
    directory, claims = RecordDirectory(tmp_path, {"classes": 2}, LABELS), Claims(tmp_path / "claims")
    samples = OpenSamples(directory, claims, range(5, 45), is_open=is_open, batch_size=16, processes=1)
    assert list(samples) == [[*range(5, 21)], [*range(21, 33)], [*range(33, 41)], [*range(41, 45)]]
    assert samples.batch == [*range(41, 45)]
    claims.close()


def test_processes_that_start_together_begin_with_small_batches(tmp_path: Path) -> None:
    directory, claims = RecordDirectory(tmp_path, {"classes": 2}, LABELS), Claims(tmp_path / "claims")
    samples = OpenSamples(directory, claims, range(40), is_open=is_open, batch_size=100, processes=4)
    assert len(next(iter(samples))) == 5
    claims.close()


def test_what_others_recorded_meanwhile_is_left_out(tmp_path: Path) -> None:
    directory, claims = RecordDirectory(tmp_path, {"classes": 2}, LABELS), Claims(tmp_path / "claims")
    batches = iter(OpenSamples(directory, claims, range(12), is_open=is_open, batch_size=4, processes=1))
    assert next(batches) == [0, 1, 2, 3]
    process = fork.Process(target=work, args=(tmp_path, range(2, 9)))
    process.start()
    process.join()
    assert attempts(tmp_path).keys() == {4, 5, 6, 7, 8}, "the claimed ones are not touched"
    assert list(batches) == [[9, 10], [11]]
    claims.close()


@pytest.mark.parametrize("ranges", [[range(240)] * 3, [range(240), range(100, 200), range(150, 240)]])
def test_three_processes_at_once_decide_each_sample_once(ranges: list[range], tmp_path: Path) -> None:
    processes = [
        fork.Process(target=work, args=(tmp_path, indices), kwargs={"seconds": 4e-3, "seed": seed})
        for seed, indices in enumerate(ranges)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert attempts(tmp_path) == Counter(range(240))
    sizes = [len(path.read_text().splitlines()) - 1 for path in tmp_path.glob("records-*.jsonl")]
    assert len(sizes) == 3
    assert min(sizes) >= 10, "all had a share"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 40))])
def test_kills_and_double_starts_lose_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    generator, recorded, running, started = random.Random(seed), Counter[int](), list[tuple[Any, float]](), 0
    while len(recorded) < 240:
        while len(running) < 3:
            started += 1
            indices = range(generator.choice([0, 0, generator.randrange(240)]), 240)
            process = fork.Process(target=work, args=(tmp_path, indices), kwargs={"seconds": 2e-3, "seed": started})
            process.start()
            running.append((process, time.monotonic() + generator.expovariate(1 / 0.06)))
        for process, end in running:
            if time.monotonic() > end:
                process.kill()
        running = [(process, end) for process, end in running if process.is_alive()]
        before, recorded = recorded, attempts(tmp_path)
        assert recorded >= before, "a record was lost"
        time.sleep(1e-3)
    for process, _ in running:
        process.kill()
        process.join()
    assert attempts(tmp_path) == Counter(range(240)), "a sample was decided twice"
    assert started > 6
