"""``gls verify``, on networks whose outputs are known in closed form."""

import re
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from gls_lightning.main import main

Holds = Callable[[str, dict[str, Fraction]], bool]

pytestmark = pytest.mark.usefixtures("clean_place")


def write_network(nodes: str, given: str = "float[1,2] X", **constants: np.ndarray) -> None:
    header = '<ir_version: 8, opset_import: ["": 18]>'
    model = onnx.parser.parse_model(f"{header} g ({given}) => (float[1,K] Y) {{{nodes}}}")
    tensors = (onnx.numpy_helper.from_array(np.float32(value), name) for name, value in constants.items())
    model.graph.initializer.extend(tensors)
    onnx.save(model, "net.onnx")


def write_distance_and_sum() -> None:
    """Y_0 = abs(X_0 - X_1) and Y_1 = X_0 + X_1, where that is not negative."""
    write_network("A = Gemm(X, W) B = Relu(A) Y = Gemm(B, V)", W=[[1, -1, 1], [-1, 1, 1]], V=[[1, 0], [1, 0], [0, 1]])


def write_property(*assertions: str, box: tuple[str, str] = ("0", "1"), outputs: int = 2) -> str:
    text = "".join(
        f"(declare-const X_{i} Real)(assert (>= X_{i} {box[0]}))(assert (<= X_{i} {box[1]}))" for i in (0, 1)
    )
    text += "".join(f"(declare-const Y_{j} Real)" for j in range(outputs))
    text += "".join(f"(assert {assertion})" for assertion in assertions)
    Path("spec.vnnlib").write_text(text)
    return text


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What ``gls verify`` prints."""

    def run(*options: str) -> str:
        capsys.readouterr()
        main(["verify", "net.onnx", "spec.vnnlib", *options])
        return capsys.readouterr().out

    return run


def require_counterexample(printed: str, text: str, holds: Holds) -> None:
    """Reads the numbers as they are printed, and evaluates network and property at them."""
    assert re.fullmatch(r"sat\n\((\([XY]_\d+ -?\d+\.\d+\)\n?)+\)\n", printed)
    values = {name: Fraction(number) for name, number in re.findall(r"\(([XY]_\d+) ([^)]+)\)", printed)}
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    point = np.float32([float(value) for name, value in values.items() if name[0] == "X"]).reshape(shape)
    outputs = session.run(None, {"X": point})[0].flatten().tolist()
    assert [float(value) for name, value in values.items() if name[0] == "Y"] == outputs
    assert holds(text, values)


CASES = {
    "(>= Y_0 1.01)": False,
    "(>= Y_0 0.99)": True,
    "(>= Y_0 1)": True,  # at two corners only, and with equality
    "(and (>= Y_0 0.5) (>= Y_1 1.6))": False,
    "(and (>= Y_0 0.5) (>= Y_1 1.4))": True,
    "(or (and (>= Y_0 1.01)) (and (>= Y_1 1.99)))": True,
    "(or (and (>= Y_0 1.01)) (and (>= Y_1 2.01)))": False,
    "(or (and (>= Y_0 0.6) (<= Y_1 0.5)) (and (>= Y_0 0.6) (>= Y_1 1.5)))": False,
    "(or (and (>= Y_0 0.6) (<= Y_1 0.5)) (and (>= Y_0 0.6) (>= Y_1 1.3)))": True,
    "(<= (+ Y_0 (* -0.5 Y_1)) -1.01)": False,
    "(<= (+ Y_0 (* -0.5 Y_1)) -0.9)": True,
    "(<= 1 0)": False,
    "(<= 0 1)": True,
    # two boxes: small and large inputs
    "(or (and (<= X_0 0.1) (<= X_1 0.1) (>= Y_0 0.2)) (and (>= X_0 0.9) (>= X_1 0.9) (>= Y_0 0.2)))": False,
    "(or (and (<= X_0 0.1) (<= X_1 0.1) (>= Y_1 1.9)) (and (>= X_0 0.9) (>= X_1 0.9) (>= Y_1 1.9)))": True,
    "(and (or (and (<= X_0 0.1) (<= X_1 0.1)) (and (>= X_0 0.9) (>= X_1 0.9))) (>= Y_1 0.3) (<= Y_1 1.7))": False,
    "(and (<= X_0 0.1) (>= X_0 0.2))": False,
    "(and (<= X_0 0.7) (>= X_0 0.7) (>= Y_0 0.69))": True,  # 0.7 is no number of float32
    "(and (<= X_0 0.7) (>= X_0 0.7) (>= Y_0 0.71))": False,
}


@pytest.mark.parametrize("assertion", CASES)
def test_closed_form(assertion: str, verify: Callable[..., str], holds: Holds) -> None:
    write_distance_and_sum()
    text = write_property(assertion)
    if CASES[assertion]:
        require_counterexample(verify(), text, holds)
    else:
        assert verify() == "unsat\n"


def test_without_relu(verify: Callable[..., str], holds: Holds) -> None:
    write_network("Y = Gemm(X, W)", W=[[1], [2]])
    for threshold, reachable in (("3.01", False), ("2.99", True)):
        text = write_property(f"(>= Y_0 {threshold})", outputs=1)
        if reachable:
            require_counterexample(verify(), text, holds)
        else:
            assert verify() == "unsat\n"


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_against_a_grid(seed: int, verify: Callable[..., str], holds: Holds) -> None:
    """The largest value on a grid is reachable; none beyond it by more than the network can change between points."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, 8)), random.normal(size=(8, 1))
    write_network("A = Gemm(X, W, b) B = Relu(A) Y = Gemm(B, V)", W=first, b=random.normal(size=8), V=second)
    axis = np.linspace(0, 1, 201, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    model = onnx.load("net.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    largest = float(ReferenceEvaluator(model).run(None, {"X": grid})[0].max())
    change = float((abs(first) @ abs(second)).sum()) / 400
    text = write_property(f"(>= Y_0 {largest - 1e-4:.6f})", outputs=1)
    require_counterexample(verify(), text, holds)
    write_property(f"(>= Y_0 {largest + change + 1e-4:.6f})", outputs=1)
    assert verify() == "unsat\n"


def test_a_counterexample_that_rounding_undoes_is_unknown(verify: Callable[..., str]) -> None:
    """3 * float32(0.1) is not a number of float32; the network rounds it up."""
    write_network("A = Relu(X) Y = Gemm(A, W)", W=[[3], [0]])
    x = np.float32(0.1)
    exact, rounded = 3 * float(x), float(np.float32(3) * x)
    assert exact < rounded
    write_property(f"(<= Y_0 {exact!r})", box=(repr(float(x)), repr(float(x))), outputs=1)
    assert verify() == "unknown\n"


def test_time_is_up(verify: Callable[..., str]) -> None:
    write_distance_and_sum()
    write_property("(>= Y_0 1.01)")
    assert verify("--time_limit=1e-9") == "timeout\n"


def test_result_in_a_file(verify: Callable[..., str]) -> None:
    write_distance_and_sum()
    write_property("(>= Y_0 1.01)")
    printed = verify("--output", "result.txt")
    assert Path("result.txt").read_text() == printed == "unsat\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.onnx", "spec.vnnlib"], "nowhere.onnx cannot be read as ONNX"),
        (["net.onnx", "nowhere.vnnlib"], "nowhere.vnnlib cannot be read"),
        (["net.onnx", "spec.vnnlib", "--time_limit=0"], "time_limit is 0.0; it must be positive"),
        (["net.onnx", "spec.vnnlib", "--output=no/where"], "output is no/where; there is no directory no"),
        (["net.onnx", "other.vnnlib"], "the property is about 2 inputs and 3 outputs, but net.onnx has 2 and 2"),
    ],
)
def test_bad_input(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_distance_and_sum()
    write_property("(>= Y_2 1)", outputs=3)
    Path("spec.vnnlib").rename("other.vnnlib")
    write_property("(>= Y_0 1)")
    with pytest.raises(SystemExit) as exit_:
        main(["verify", *words])
    assert exit_.value.code == 2
    assert f"gls: {message}" in capsys.readouterr().err


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("gls_lightning.interchange")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SystemExit):
        main(["verify", "net.onnx", "spec.vnnlib"])
    expected = "gls: the package onnx is not installed; pip install 'gls-lightning[onnx]' adds it\n"
    assert capsys.readouterr().err == expected


def test_batch_normalisation_of_every_version_is_that_of_inference(verify: Callable[..., str], holds: Holds) -> None:
    """The onnx package's evaluator mixes the batch's statistics in for opset 9 to 13; y is 1000 + x0 here."""
    ones, zeros = np.ones(1, np.float32), np.zeros(1, np.float32)
    for opset in (9, 13, 15):
        model = onnx.parser.parse_model(
            f'<ir_version: 6, opset_import: ["": {opset}]> g (float[1,1,1,2] X) => (float[1,K] Y) '
            "{A = BatchNormalization<epsilon = 0.00001>(X, s, b, m, v) B = Flatten(A) Y = Gemm(B, W, c)}"
        )
        tensors = {"s": ones, "b": zeros, "m": zeros, "v": ones, "W": np.float32([[1], [0]]), "c": 1000 * ones}
        model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in tensors.items())
        onnx.save(model, "net.onnx")
        write_property("(<= Y_0 1000.99)", box=("1", "2"), outputs=1)
        assert verify() == "unsat\n"
        text = write_property("(<= Y_0 1001.01)", box=("1", "2"), outputs=1)
        require_counterexample(verify(), text, holds)


@pytest.mark.parametrize("exponent", [0, 10, 27, 40, 60])
def test_large_weights_that_cancel_prove_nothing_wrong(exponent: int, verify: Callable[..., str], holds: Holds) -> None:
    """y = relu(10 (x0 + x1) - 19) + C - C reaches 1 at one corner, and no more."""
    large = 2.0**exponent
    write_network(
        "A = Gemm(X, W, b) B = Relu(A) Y = Gemm(B, V)",
        W=[[10, 0, 0], [10, 0, 0]],
        b=[-19, large, large],
        V=[[1], [1], [-1]],
    )
    text = write_property("(>= Y_0 0.5)", outputs=1)
    result = verify("--time_limit=10")
    if exponent < 20:
        require_counterexample(result, text, holds)
        write_property("(>= Y_0 1.0001)", outputs=1)
        assert verify() == "unsat\n"
    else:
        assert result.startswith(("sat", "unknown", "timeout"))


def test_a_property_is_read_to_the_last_digit(verify: Callable[..., str]) -> None:
    """Between y >= 1 + 1e-30, which no point reaches, and y >= 1 lies less than float64 can tell."""
    write_network("A = Relu(X) Y = Gemm(A, W)", W=[[1], [0]])
    write_property("(>= Y_0 1.000000000000000000000000000001)", outputs=1)
    assert not verify().startswith("sat")
    write_property("(>= Y_0 1)", outputs=1)
    assert verify().startswith("sat")
    write_property("(>= Y_0 1)", box=("0", "1.000000000000000000000000000001"), outputs=1)
    assert verify().startswith("sat")
    write_property(
        "(>= Y_0 1.0000000000000000000000000000005)", box=("0", "1.000000000000000000000000000001"), outputs=1
    )
    assert verify() != "unsat\n"


def test_a_wrong_reading_shows_however_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gls_lightning.bounds import UnsupportedOperationError
    from gls_lightning.interchange import onnx_graph
    from gls_lightning.interchange.onnx_network import OnnxNetwork

    write_network("Y = Gemm(X, W, b)", W=[[1], [1]], b=[1000])
    network = OnnxNetwork(Path("net.onnx"))
    graph, tensors = onnx_graph.read_graph(network)
    points = np.full((1, 2), 0.5)
    onnx_graph.compare(graph, tensors, network, torch.from_numpy(points))
    wrong = {name: tensor + 1e-7 * (tensor.ndim == 1) for name, tensor in tensors.items()}
    with pytest.raises(UnsupportedOperationError, match="beyond rounding"):
        onnx_graph.compare(graph, wrong, network, torch.from_numpy(points))


def test_the_printed_input_is_the_one_that_counts(verify: Callable[..., str]) -> None:
    """The number of float64 that is printed as 0.1 lies above 0.1, which bounds the input."""
    write_network("A = Relu(X) Y = Gemm(A, W)", W=[[1], [0]])
    for side, value in (
        ("0.1", np.float64(0.1)),
        ("0.09999999403953552", np.float64(np.float32(0.09999999403953552))),
    ):
        write_property(f"(>= Y_0 {Decimal(float(value)):f})", box=("0", side), outputs=1)
        assert not verify().startswith("sat") or Fraction(side) >= Fraction(float(value))


def test_factors_that_round_are_refused() -> None:
    from gls_lightning.bounds import UnsupportedOperationError
    from gls_lightning.interchange.onnx_graph import read_graph
    from gls_lightning.interchange.onnx_network import OnnxNetwork

    for factor, refused in ((0.5, False), (0.1, True)):
        write_network(f"Y = Gemm<alpha = {factor}>(X, W)", given="double[1,2] X", W=[[1], [1]])
        model = onnx.load("net.onnx")
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([[0.7], [1 / 3]]), "W"))
        model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        onnx.save(model, "net.onnx")
        if refused:
            with pytest.raises(UnsupportedOperationError, match=r"alpha is 0\.1, and its products"):
                read_graph(OnnxNetwork(Path("net.onnx")))
        else:
            read_graph(OnnxNetwork(Path("net.onnx")))


def test_constants_that_are_computed_are_those_of_the_file(verify: Callable[..., str]) -> None:
    """A third in float32 is not a third in float64."""
    write_network("c = Div(one, three) A = Mul(X, c) B = Relu(A) Y = Gemm(B, W)", one=1, three=3, W=[[1], [1]])
    write_property("(>= Y_0 0.7)", outputs=1)
    assert verify() == "unsat\n"
