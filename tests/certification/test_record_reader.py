import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gls_lightning.certification import Record, Verdict
from gls_lightning.certification._record_reader import RecordReader
from gls_lightning.certification.record_file import RecordFile
from gls_lightning.certification.record_line import as_json, decode, encode
from gls_lightning.errors import ConfigurationError

FINGERPRINT = {"format": 2, "version": "0.1.0", "epsilon": 0.1, "classes": 3}
LABELS = [0, 1, 2, 0, 1]
CERTIFIER = {"stages": {"natural": {}, "IBP": {}}}
RECORDS = [
    Record(0, 0, 0, Verdict.CERTIFIED, "IBP", 0.25, 0.5),
    Record(1, 1, 1, Verdict.FALSIFIED, "IBP", -0.25, 1.5, subdomains=7),
    Record(2, 2, 0, Verdict.MISCLASSIFIED, "natural", -0.5, 0.0),
    Record(3, 0, 0, Verdict.UNKNOWN, None, None, 2.5),
    Record(4, 1, None, Verdict.ERROR, "natural", None, 0.1, reason="natural computed no number"),
]


def write(folder: Path, records: list[Record] = RECORDS) -> Path:
    file = RecordFile(folder, FINGERPRINT, range(5), 0, CERTIFIER)
    for record in records:
        file.append(record)
    file.close()
    (path,) = folder.glob("records-*.jsonl")
    return path


def read(path: Path) -> RecordReader:
    reader = RecordReader(path, FINGERPRINT, LABELS)
    reader.read()
    return reader


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < len(str(path)) + 250
    return message.removeprefix(str(path))


def test_reads_what_was_written(tmp_path: Path) -> None:
    reader = read(write(tmp_path))
    assert reader.records == RECORDS
    assert (reader.chosen, reader.certifier, reader.notes) == (range(5), CERTIFIER, [])


def test_reads_what_was_added_since(tmp_path: Path) -> None:
    file = RecordFile(tmp_path, FINGERPRINT, range(5), 0, CERTIFIER)
    (path,) = tmp_path.iterdir()
    reader = read(path)
    for record in RECORDS:
        file.append(record)
        reader.read()
        assert reader.records[-1] == record
    assert reader.records == RECORDS


NUMBER = "it must be a whole number of at least 0"


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (2, {"index": 5}, "index is 5; the test set has 5 samples, counted from 0"),
        (2, {"index": -1}, f"index is -1; {NUMBER}"),
        (2, {"index": 10**30}, f"index is {10**30}; {NUMBER}"),
        (2, {"index": "0"}, f"index is '0'; {NUMBER}"),
        (2, {"index": True}, f"index is True; {NUMBER}"),
        (2, {"index": 0.0}, f"index is 0.0; {NUMBER}"),
        (2, {"label": 1}, "label is 1; sample 0 of the test set has the label 0"),
        (2, {"label": 17}, "label is 17; sample 0"),
        (2, {"label": None}, f"label is None; {NUMBER}"),
        (2, {"prediction": 3}, "prediction is 3; the network has 3 classes"),
        (2, {"prediction": 1}, "prediction is 1; that of a certified sample is its label, 0"),
        (3, {"prediction": 0}, "prediction is 0; that of a falsified sample is its label, 1"),
        (4, {"prediction": 2}, "prediction is 2; that of a misclassified sample is another class than its label"),
        (2, {"verdict": "perhaps"}, "verdict is perhaps; it must be one of certified, falsified, unknown,"),
        (2, {"verdict": ["certified"]}, "verdict is ['certified']; it must be one of"),
        (5, {"verdict": "certified", "stage": "IBP"}, "margin is None; that of a certified sample is above 0"),
        (2, {"verdict": "falsified"}, "margin is 0.25; that of a falsified sample is at most 0"),
        (2, {"verdict": "error\nnews"}, "verdict is 'error\\nnews'; it must be"),
        (2, {"stage": "Oracle"}, "stage is Oracle; the stages in the first line are natural, IBP"),
        (2, {"stage": 3}, "stage is 3; it must be a name, or null"),
        (2, {"stage": None}, "stage is None; an unknown sample has none, every other one has"),
        (2, {"margin": 0}, "margin is 0; that of a certified sample is above 0"),
        (2, {"margin": -0.5}, "margin is -0.5; that of a certified sample is above 0"),
        (2, {"margin": float("nan")}, "it holds NaN, which is no finite number"),
        (2, {"margin": float("inf")}, "it holds Infinity, which is no finite number"),
        (3, {"margin": -float("inf")}, "it holds '-Infinity', which is no finite number"),
        (2, {"margin": "0.5"}, "margin is '0.5'; it must be a finite number, or null"),
        (2, {"seconds": -1.0}, "seconds is -1.0; it must be a finite number of at least 0"),
        (2, {"seconds": 10**400}, f"seconds is {str(10**400)[:40]}...; it must be a finite number of at least 0"),
        (2, {"seconds": False}, "seconds is False; it must be a finite number of at least 0"),
        (2, {"subdomains": -3}, f"subdomains is -3; {NUMBER}"),
        (2, {"subdomains": 1.5}, f"subdomains is 1.5; {NUMBER}"),
        (2, {"reason": "why"}, "reason is why; only an error has one"),
        (6, {"reason": "\x1b[31mred"}, "reason is '\\x1b[31mred'; it must be a text in one line, or null"),
        (2, {"colour": 1}, "colour is 1; there is no such field"),
        (2, {"check": "00000000"}, "check is '00000000'; it does not fit the line, which was changed"),
        (2, {"check": None}, "check is None; it does not fit the line"),
        (1, {"end": 1e11}, "end is 100000000000.0; it must be above start, which is 0, and at most 5"),
        (1, {"end": 10**11}, "end is 100000000000; it must be above start, which is 0, and at most 5"),
        (1, {"end": 0}, "end is 0; it must be above start, which is 0, and at most 5"),
        (1, {"start": -1}, f"start is -1; {NUMBER}"),
        (1, {"certifier": []}, "certifier is []; it must hold the stages by their names"),
        (1, {"certifier": {"stages": {"a\nb": {}}}}, "certifier is {'stages': "),
        (1, {"fingerprint": 3}, "it does not say what the records are of"),
        (1, {"more": 3}, "more is 3; there is no such field"),
    ],
)
def test_values_that_no_process_writes(line: int, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    lines = path.read_text().splitlines()
    lines[line - 1] = json.dumps(json.loads(lines[line - 1]) | change)
    path.write_text("\n".join(lines) + "\n")
    assert f", line {line}: {message}" in refusal(path)


@pytest.mark.parametrize("number", [1, 2])
def test_numbers_beyond_all_bounds(number: int, tmp_path: Path) -> None:
    path = write(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace('"stages": {', '"x": -1e999, "stages": {').replace("0.25", "1e999")
    path.write_text("".join(lines))
    sign = "'-1e999'" if number == 1 else "'1e999'"
    assert f", line {number}: it holds {sign}, which is no finite number" in refusal(path)


@pytest.mark.parametrize("number", [1, 2])
def test_nested_values_of_any_depth(number: int, tmp_path: Path) -> None:
    path = write(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    line, old = lines[number - 1], '"natural": {}' if number == 1 else '"index": 0'
    for depth in (3, *range(880, 1010)):
        lines[number - 1] = line.replace(old, f"{old[:-2]} {'[' * depth}{']' * depth}")
        path.write_text("".join(lines))
        assert f", line {number}: " in refusal(path)


@pytest.mark.parametrize("name", [*as_json(RECORDS[0]), "check"])
def test_missing_fields(name: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    lines = path.read_text().splitlines()
    content = json.loads(lines[1])
    del content[name]
    path.write_text("\n".join([lines[0], json.dumps(content), ""]))
    assert refusal(path) == f", line 2: {name} is missing; remove the line"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "it is no JSON: Expecting value at character "),
        (b"{", "it is no JSON: "),
        (b"[]", "it is []; it must be an object with the fields of a record"),
        (b"\0\0", "it is no JSON: "),
        (b"\xff\xfe", "it is not text in UTF-8"),
        (b'{"index": 1, "index": 2}', "index is there twice"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"1" * 10_000, "it holds a number that is too long"),
        (b"x" * 2**21, "it is longer than any record; remove it"),
        (b"{}", "index is missing"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\nmore\n"])
def test_lines_that_are_no_records(line: bytes, message: str, end: bytes, tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes() + line + end)
    assert f", line 7: {message}" in refusal(path)


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "records-1.jsonl").mkdir()
    assert refusal(tmp_path / "records-1.jsonl") == " is no file; records are files"


def test_a_fingerprint_with_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, [])
    path.write_text(path.read_text().replace('"0.1.0"', '"0\\n1"'))
    with pytest.raises(ConfigurationError, match=r"differ in version \(0\\n1 there, 0.1.0 here\)"):
        read(path)


def test_a_second_record_of_a_sample_in_one_file_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[2])
    reader = read(path)
    assert reader.records == [*RECORDS, RECORDS[1]]
    assert reader.notes == [f"{path}, lines 3 and 7: both are of sample 1; the one that says more counts"]


def test_a_cut_last_line_is_noted_and_read_once_it_is_complete(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    reader = read(path)
    assert reader.records == RECORDS[:-1]
    assert reader.notes == [f"{path} ends within line 6, which does not count"]
    path.write_bytes(content)
    reader.read()
    assert (reader.records, reader.notes) == (RECORDS, [])


def mutations() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """Ways to damage a line: bytes replaced, inserted, deleted, or moved; cut; another value for a field."""
    place, some = st.floats(0, 1, exclude_max=True), st.binary(max_size=6)
    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just([]), st.just({}))

    def splice(at: float, removed: int, inserted: bytes) -> Callable[[bytes], bytes]:
        return lambda line: line[: int(at * len(line))] + inserted + line[int(at * len(line)) + removed :]

    def swap(one: float, other: float, length: int) -> Callable[[bytes], bytes]:
        def apply(line: bytes) -> bytes:
            i, j = sorted(int(at * len(line)) for at in (one, other))
            return line[:i] + line[j : j + length] + line[i + length : j] + line[i : i + length] + line[j + length :]

        return apply

    def assign(field: float, value: Any) -> Callable[[bytes], bytes]:
        def apply(line: bytes) -> bytes:
            content = json.loads(line)
            name = list(content)[int(field * len(content))]
            return json.dumps(content | {name: value}).encode() + b"\n"

        return apply

    digits = st.sampled_from([b"0", b"1", b"2", b"9", b".", b"-", b"e", b"\n", b'"', b" ", b"null", b"1e999"])
    return st.one_of(
        st.builds(splice, place, st.integers(0, 9), st.one_of(some, digits)),
        st.builds(swap, place, place, st.integers(1, 9)),
        st.builds(assign, place, odd),
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 5), mutate=mutations())
def test_a_changed_line_is_refused_noted_or_says_the_same(
    number: int, mutate: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    header = {"fingerprint": FINGERPRINT, "start": 0, "end": 5, "certifier": CERTIFIER}
    lines = [encode(content) for content in (header, *map(as_json, RECORDS))]
    lines[number] = mutate(lines[number])
    path = tmp_path / "records-0-5-rank0.jsonl"
    path.write_bytes(b"".join(lines))
    reader = RecordReader(path, FINGERPRINT, LABELS)
    try:
        reader.read()
    except ConfigurationError as refused:
        message = str(refused)
    else:
        message = None
    event("refused" if message else "noted" if reader.notes else "the same")
    if message is not None:
        assert "\n" not in message
    else:
        assert all(record in RECORDS for record in reader.records), "a record says something else"
        assert reader.notes or reader.records == RECORDS, "a record vanished without a word"


@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "check"), st.integers(-9, 9) | st.text(), max_size=4
    )
)
def test_any_content_is_one_line(content: dict[str, Any]) -> None:
    line = encode(content)
    decoded = decode(line)
    del decoded["check"]
    assert decoded == content
    assert line.count(b"\n") == 1
