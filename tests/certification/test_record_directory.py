import json
import os
import resource
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gls_lightning.bounds import OpaqueGraph, UnsupportedOperationError, trace
from gls_lightning.certification import Record, Verdict
from gls_lightning.certification.fingerprint import Fingerprint, differences, fingerprint
from gls_lightning.certification.record_directory import RecordDirectory, merge
from gls_lightning.errors import ConfigurationError

CERTIFIER = {"batch_size": 7, "stages": {"natural": {}, "IBP": {}, "PGD": {}}}


def record(index: int, verdict: Verdict = Verdict.CERTIFIED, seconds: float = 0.5, **options: object) -> Record:
    prediction = 0 if verdict is Verdict.MISCLASSIFIED else 1
    stage = None if verdict is Verdict.UNKNOWN else "IBP"
    margin = 0.25 if verdict is Verdict.CERTIFIED else -0.25
    return Record(index, 1, prediction, verdict, stage, margin, seconds, **options)


def directory(path: Path, **fingerprint: float) -> RecordDirectory:
    return RecordDirectory(path, {"epsilon": 0.1, "classes": 3, **fingerprint}, [1] * 10)


def write(path: Path, records: Sequence[Record], chosen: range = range(10), rank: int = 0) -> Path:
    file = directory(path).new_file(chosen, rank, CERTIFIER)
    for each in records:
        file.append(each)
    file.close()
    return max(path.glob(f"records-*-rank{rank}*.jsonl"), key=lambda found: found.stat().st_mtime_ns)


def test_files_of_shards_ranks_and_runs_add_up(tmp_path: Path) -> None:
    write(tmp_path, [record(3), record(0)], range(4))
    write(tmp_path, [record(1)], range(4), rank=1)
    write(tmp_path, [record(2, Verdict.UNKNOWN, subdomains=7)], range(4))
    write(tmp_path, [record(8)], range(7, 9))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"records-{n}.jsonl" for n in ("0-4-rank0", "0-4-rank0-2", "0-4-rank1", "7-9-rank0")}
    found = directory(tmp_path).read()
    expected = [record(0), record(1), record(2, Verdict.UNKNOWN, subdomains=7), record(3), record(8)]
    assert list(found.records.values()) == expected
    assert found.chosen == {0, 1, 2, 3, 7, 8}
    assert (found.certifiers, found.notes) == ([CERTIFIER], [])
    assert sum(found.attempts.values(), Counter()) == Counter([0, 1, 2, 3, 8])
    assert found.attempts["records-0-4-rank1.jsonl"] == {1: 1}


def test_two_processes_with_the_same_samples_at_once(tmp_path: Path) -> None:
    files = [directory(tmp_path).new_file(range(4), 0, CERTIFIER) for _ in range(2)]
    for index in range(4):
        for number, file in enumerate(files):
            file.append(record(index, seconds=1 + number))
    assert list(directory(tmp_path).read().records.values()) == [record(index, seconds=2) for index in range(4)]


def test_each_record_is_in_the_file_at_once(tmp_path: Path) -> None:
    file = directory(tmp_path).new_file(range(10), 0, CERTIFIER)
    file.append(record(0))
    assert list(directory(tmp_path).read().records) == [0]


def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = write(tmp_path, [record(0), record(1)])
    content = path.read_bytes()
    ends = [position for position, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        assert len(directory(tmp_path).read().records) == max(0, sum(end < length for end in ends) - 1)
    path.write_bytes(content[:-5])
    write(tmp_path, [record(2)])
    assert list(directory(tmp_path).read().records) == [0, 2]


def test_a_directory_reads_on_where_it_was(tmp_path: Path) -> None:
    reading = directory(tmp_path)
    assert reading.read().records == {}
    file = directory(tmp_path).new_file(range(10), 0, CERTIFIER)
    for index in range(3):
        file.append(record(index))
        assert list(reading.read().records) == list(range(index + 1))
    write(tmp_path, [record(7)], rank=1)
    assert list(reading.read().records) == [0, 1, 2, 7]
    assert reading.read() == directory(tmp_path).read()


def test_damage_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, [record(0)])
    path.write_text(path.read_text().replace('"certified"', '"falsified"'))
    with pytest.raises(ConfigurationError, match=r"line 2: margin is 0\.25; that of a falsified sample is"):
        directory(tmp_path).read()


def test_a_full_disk_leaves_whole_lines_and_says_so(tmp_path: Path) -> None:
    def fill(pipe: Connection) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))  # a write beyond stops in the midst of a line
        file = directory(tmp_path).new_file(range(10), 0, CERTIFIER)
        try:
            for index in range(10):
                file.append(record(index))
        except OSError as error:
            pipe.send("; ".join([error.strerror, *error.__notes__]))

    here, there = get_context("fork").Pipe()
    process = get_context("fork").Process(target=fill, args=(there,))
    process.start()
    process.join()
    (path,) = tmp_path.iterdir()
    message = here.recv()
    assert message.startswith(f"File too large; {path}: the records before are whole: make room")
    assert "\n" not in message
    found = directory(tmp_path).read()
    assert found.records == {index: record(index) for index in range(len(found.records))}
    assert found.notes == []
    assert 3 <= len(found.records) < 10


def test_a_directory_that_takes_no_files() -> None:
    with pytest.raises(ConfigurationError, match=r"^/proc: .*; choose a directory for new files with --output"):
        directory(Path("/proc")).new_file(range(10), 0, CERTIFIER)


def test_records_are_synced_once_a_second_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    file = directory(tmp_path).new_file(range(10), 0, CERTIFIER)
    counts = []
    for index, seconds in enumerate([0.25, 0.5, 0.25, 0.75, 3.0, 0.0]):
        file.append(record(index, seconds=seconds))
        counts.append(len(synced))
    file.close()
    assert (counts, len(synced)) == ([0, 0, 1, 1, 2, 2], 3)
    assert set(synced) == set(tmp_path.iterdir())


def test_strict_json_without_infinity(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    path = write(tmp_path, [Record(0, 1, None, Verdict.FALSIFIED, "PGD", -inf, 0.0)])
    fields = json.loads(path.read_text().splitlines()[1], parse_constant=refuse)
    assert (fields["margin"], fields["prediction"]) == (None, None)


def test_records_of_something_else_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [record(0)])
    with pytest.raises(ConfigurationError, match=r"epsilon \(0.1 there, 0.2 here\); choose another .* with --output"):
        directory(tmp_path, epsilon=0.2).read()


def test_counterexamples(tmp_path: Path) -> None:
    point = torch.rand(2, 3, dtype=torch.double).T
    found = record(4, Verdict.FALSIFIED, counterexample=point)
    directory(tmp_path).store_counterexample(found)
    directory(tmp_path).store_counterexample(record(5))
    assert [path.name for path in (tmp_path / "counterexamples").iterdir()] == ["4.safetensors"]
    assert torch.equal(load_file(directory(tmp_path).counterexample(4))["counterexample"], point)


class TestMerge:
    def test_what_says_most_stays_in_any_order(self) -> None:
        ranking = [
            record(0, Verdict.ERROR, 9.0),
            record(0, Verdict.UNKNOWN, 1.0),
            record(0, Verdict.UNKNOWN, 5.0),
            record(0, Verdict.CERTIFIED, 0.1),
        ]
        for best in range(1, len(ranking) + 1):
            for order in permutations(ranking[:best]):
                assert merge({"one": order}) == ({0: ranking[best - 1]}, set())
                assert merge({str(number): [each] for number, each in enumerate(order)})[0] == {0: ranking[best - 1]}

    @pytest.mark.parametrize("verdict", [Verdict.FALSIFIED, Verdict.MISCLASSIFIED])
    def test_a_contradiction_is_an_error_of_its_sample_and_names_the_files(self, verdict: Verdict) -> None:
        claims = {"a": record(0, Verdict.CERTIFIED), "b": record(0, verdict), "c": record(0, Verdict.UNKNOWN, 9.0)}
        for order in permutations(claims):
            records, contradictory = merge({name: [record(3), claims[name]] for name in order})
            assert contradictory == {0}
            assert records[3] == record(3)
            assert (records[0].verdict, records[0].stage, records[0].margin) == (Verdict.ERROR, None, None)
            first, second = (name for name in order if name != "c")
            says = f"{first} says {claims[first].verdict} (IBP) and {second} {claims[second].verdict} (IBP)"
            assert records[0].reason == f"{says}: one of the stages is wrong"
        assert merge({"a": [record(0, Verdict.CERTIFIED), record(1, verdict)]})[1] == set()


class TestFingerprint:
    def make(self, network: nn.Module | None = None, epsilon: float = 0.1, **changes: int) -> Fingerprint:
        torch.manual_seed(0)
        network = network or nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
        x, y = torch.rand(6, 4), torch.arange(6) % 3
        for name, position in changes.items():
            {"image": x, "label": y, "weight": network[0].weight.data}[name].view(-1)[position] += 1
        batches = zip(x.split(4), y.split(4), strict=True)
        return fingerprint(trace(network, (4,)), network.state_dict(), epsilon, "Noise", batches)

    def test_the_same_again(self) -> None:
        assert self.make() == self.make()
        assert differences(json.loads(json.dumps(self.make())), self.make()) == ""

    @pytest.mark.parametrize(
        ("change", "key"), [({"image": 23}, "images"), ({"label": 5}, "labels"), ({"weight": 15}, "weights")]
    )
    def test_one_number_changes_it(self, change: dict[str, int], key: str) -> None:
        different = differences(self.make(), self.make(**change))
        assert different.startswith(f"{key} (")
        assert ")," not in different

    def test_another_architecture_with_the_same_weights(self) -> None:
        torch.manual_seed(0)
        leaky = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(), nn.Linear(4, 3))
        assert differences(self.make(), self.make(leaky)).startswith("architecture (")

    def test_untraced_networks_that_differ_in_what_they_compute(self) -> None:
        class Untraced(nn.Sequential):
            factor = 1.0

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.factor * super().forward(x).erf()

        torch.manual_seed(0)
        same, other = Untraced(nn.Linear(4, 3)), Untraced(nn.Linear(4, 3))
        other.load_state_dict(same.state_dict())
        x, y = torch.rand(6, 4), torch.arange(6) % 3

        def make(network: Untraced) -> Fingerprint:
            graph = OpaqueGraph(network, (4,), UnsupportedOperationError("erf"))
            return fingerprint(graph, network.state_dict(), 0.1, "Noise", [(x, y)])

        assert make(same) == make(other)
        other.factor = -1.0
        assert differences(make(same), make(other)).startswith("architecture (")
