"""ONNX networks become graphs that compute the same."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from gls_lightning.bounds import Box, UnsupportedOperationError
from gls_lightning.errors import ConfigurationError
from gls_lightning.interchange.onnx_graph import compare, read_graph
from gls_lightning.interchange.onnx_network import OnnxNetwork
from gls_lightning.relaxations import DeepPoly

VECTOR, IMAGE = "float[N,4] X", "float[1,2,5,4] X"


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def write(path: Path, nodes: str, given: str = VECTOR, kind: str = "float", **constants: Any) -> OnnxNetwork:
    """Writes a network whose nodes stand in ONNX's own notation."""
    header = '<ir_version: 8, opset_import: ["": 18, "own": 1]>'
    model = onnx.parser.parse_model(f"{header} g ({given}) => ({kind}[M,K] Y) {{{nodes}}}")
    tensors = (onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    model.graph.initializer.extend(tensors)
    onnx.save(model, path)
    return OnnxNetwork(path)


VECTORS = {
    "product and sum": ("A = MatMul(X, W) B = Add(A, b) C = Relu(B) Y = MatMul(C, V)", {"V": random(3, 2)}),
    "sum with the constant first": ("A = MatMul(X, W) B = Add(b, A) Y = Relu(B)", {}),
    "differences": ("A = MatMul(X, W) B = Sub(A, b) C = Sub(b, B) D = Relu(C) Y = Sub(B, D)", {}),
    "scaled": ("A = MatMul(X, W) B = Mul(A, b) C = Div(B, s) D = Neg(C) Y = Relu(D)", {"s": np.float32(3)}),
    "branches": ("A = MatMul(X, W) B = Relu(A) C = Relu(b2) D = Add(A, B) Y = Add(D, C)", {"b2": random(1, 3)}),
    "a branch twice": ("A = MatMul(X, W) B = Relu(A) Y = Add(B, B)", {}),
    "gemm": ("A = Gemm(X, W, b) Y = Relu(A)", {}),
    "gemm with factors": (
        "Y = Gemm<alpha = 0.5, beta = 2.0, transB = 1>(X, U, s)",
        {"U": random(3, 4), "s": random(1)},
    ),
    "gemm without constant": ("Y = Gemm(X, W)", {}),
    "reshaped": ("A = Reshape(X, s) B = Relu(A) Y = Flatten(B)", {"s": np.array([-1, 2, 2])}),
    "squeezed": (
        "A = Unsqueeze(X, a) B = Transpose<perm = [0, 2, 1]>(A) C = Relu(B) Y = Squeeze(C, a2)",
        {"a": np.array([1]), "a2": np.array([2])},
    ),
    "shape from the input": (
        "S = Shape(X) n = Gather(S, zero) u = Unsqueeze(n, axis) c = Concat<axis = 0>(u, rest) "
        "A = Reshape(X, c) Y = Relu(A)",
        {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])},
    ),
    "constants computed": ("T = Transpose(U) D = Add(T, T) A = MatMul(X, D) Y = Relu(A)", {"U": random(3, 4)}),
    "constant node": ("c = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>() A = Sub(X, c) Y = Relu(A)", {}),
    "nothing at all": ("A = Identity(X) Y, mask = Dropout(A)", {}),
    "affine alone": ("Y = Gemm(X, W, b)", {}),
    "matrix on the left": (
        "A = Unsqueeze(X, a) B = MatMul(U, A) Y = Squeeze(B, a)",
        {"U": random(3, 4), "a": np.array([2])},
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str, tmp_path: Path) -> None:
    nodes, constants = VECTORS[name]
    check(write(tmp_path / "a.onnx", nodes, **{"W": random(4, 3), "b": random(3)} | constants))


def test_factors_are_multiplied_exactly(tmp_path: Path) -> None:
    network = write(tmp_path / "a.onnx", "Y = Gemm<alpha = 0.1, beta = 0.1>(X, W, b)", W=random(4, 3), b=random(3))
    graph, tensors = read_graph(network)
    factor = np.float64(np.float32(0.1))
    expected = factor * (np.eye(4)[:1] @ random(4, 3).astype(np.float64) + random(3).astype(np.float64))
    np.testing.assert_allclose(graph(tensors, torch.eye(4).double()[:1]).numpy(), expected, rtol=1e-15)


NORM = {"s": random(2) + 2, "b": random(2), "m": random(2) / 3, "v": random(2) + 2}
IMAGES = {
    "convolution": ("A = Conv(X, K, c) B = Relu(A) Y = Flatten(B)", {}),
    "strides, padding, dilation": (
        "A = Conv<strides = [2, 1], pads = [2, 1, 2, 1], dilations = [1, 2]>(X, K) Y = Flatten(A)",
        {},
    ),
    "groups": ('A = Conv<group = 2, auto_pad = "VALID">(X, G) Y = Flatten(A)', {"G": random(4, 1, 2, 2)}),
    "batch norm": ("A = BatchNormalization<epsilon = 0.1>(X, s, b, m, v) B = Relu(A) Y = Flatten(B)", NORM),
    "normalisation": (
        "A = Sub(X, m) B = Div(A, s) Y = Flatten(B)",
        {"m": random(2, 1, 1), "s": np.float32([[[[2]], [[3]]]])},
    ),
    "residual": (
        "A = Conv<pads = [1, 1, 1, 1]>(X, Q) B = Relu(A) C = Add(B, X) Y = Flatten(C)",
        {"Q": random(2, 2, 3, 3)},
    ),
    "average pooling": ("A = AveragePool<kernel_shape = [2, 2], strides = [2, 1]>(X) Y = Flatten(A)", {}),
    "average pooling with padding": (
        "A = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(X) Y = Flatten(A)",
        {},
    ),
    "global average": ("A = GlobalAveragePool(X) Y = Flatten(A)", {}),
    "mean": ("Y = ReduceMean<keepdims = 0>(X, a)", {"a": np.array([-1, 2])}),
    "one row of several dimensions": (
        "A = Flatten(X) B = Unsqueeze(A, a) C = MatMul(B, H) Y = Flatten(C)",
        {"a": np.array([1, 2]), "H": random(40, 3)},
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, tmp_path: Path) -> None:
    nodes, constants = IMAGES[name]
    kernel = {"K": random(3, 2, 3, 2), "c": random(3)}
    check(write(tmp_path / "a.onnx", nodes, IMAGE, **kernel | constants))


def check(network: OnnxNetwork) -> None:
    """Compares values with those of the onnx package, and bounds over a box with samples."""
    graph, tensors = read_graph(network)
    evaluator = ReferenceEvaluator(str(network.path))
    x = torch.rand(5, *network.input_shape, dtype=torch.float64) * 2 - 1
    expected = np.stack([evaluator.run(None, {"X": point[None].float().numpy()})[0].flatten() for point in x])
    np.testing.assert_allclose(graph(tensors, x), expected, rtol=1e-5, atol=1e-5)
    compare(graph, tensors, network, x)
    box = Box(x.amin(0, keepdim=True), x.amax(0, keepdim=True))
    lower = DeepPoly()(graph, tensors, box, torch.eye(graph.num_outputs, dtype=torch.float64)[None])
    assert (lower.numpy() <= expected + 1e-5).all()


def test_constants_among_the_inputs_as_in_old_files(tmp_path: Path) -> None:
    given = "float[1,4] X, float[4,3] W"
    check(write(tmp_path / "a.onnx", "A = MatMul(X, W) Y = Relu(A)", given, W=random(4, 3)))


def test_double_precision(tmp_path: Path) -> None:
    weight = np.full((4, 3), 1 / 3)
    network = write(tmp_path / "a.onnx", "Y = MatMul(X, W)", "double[1,4] X", "double", W=weight)
    graph, tensors = read_graph(network)
    x = torch.rand(2, 4, dtype=torch.float64)
    np.testing.assert_allclose(network(x.numpy()), x.numpy() @ weight, rtol=1e-15)
    torch.testing.assert_close(graph(tensors, x), x @ torch.from_numpy(weight), rtol=1e-15, atol=0)


SUPPORTED = "supported: Add, .*Unsqueeze, and any operation on constants"
REFUSED = {
    "A = Sigmoid(X) Y = Relu(A)": rf"ONNX operation Sigmoid at 'A' cannot be verified \({SUPPORTED}\)",
    "Y = Gemm<transA = 1>(X, W)": "Gemm at 'Y' cannot be verified: transA is set",
    "Y = MatMul(X, X)": "cannot be evaluated by the onnx package",
    "A = Reshape(X, square) B = MatMul(A, A) Y = Flatten(B)": "MatMul at 'B' .*: input 1 must be a constant",
    "Y = Mul(X, X)": "only sum and difference of equal shapes",
    "Y = Div(b, X)": "division by a value that depends",
    "A = Unsqueeze(X, a) B = Add(A, C) Y = Flatten(B)": "the constant changes the shape",
    "A = Reshape(X, flat) Y = Unsqueeze(A, a)": r"its output has the shape \[4\], whose first dimension is not",
    "A = Reshape(X, square) B = Transpose<perm = [0, 2, 1]>(A) Y = Flatten(B)": "Transpose.*changes the order",
    "A = Reshape(X, square) B = MatMul(A, M) Y = Flatten(B)": r"its input has the shape \[1, 2, 2\], and is not",
    "A = Reshape(X, image) B = Conv<pads = [0, 0, 1, 1]>(A, K) Y = Flatten(B)": "padding must be given",
    'A = Reshape(X, image) B = Conv<auto_pad = "SAME_UPPER">(A, K) Y = Flatten(B)': "padding must be given by pads",
    "A = Reshape(X, line) B = Conv(A, L) Y = Flatten(B)": "must have the shape .batch, channels, height, width",
    "A = Reshape(X, image) B = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(A) Y = Flatten(B)": "ceil_mode",
    "A = Reshape(X, image) B = ReduceMean(A, a) Y = Flatten(B)": "only over height and width",
    "A = Mul(X, inf) Y = Relu(A)": "it has a constant that is not finite",
    "Y = own.Mine(X)": "operation Mine of own at 'Y' is not part of ONNX itself",
    "c = Constant<value_int = 1>() d = Cast<to = 9>(c) Y = If(d)<then_branch = t () => (float[M,K] Z) {Z = Relu(X)}, "
    "else_branch = e () => (float[M,K] Z) {Z = Identity(X)}>": "ONNX operation If at 'Y'",
    "Y = Identity(W)": "does not depend on its input",
}


@pytest.mark.parametrize("nodes", REFUSED)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_refused(nodes: str, tmp_path: Path) -> None:
    constants = {
        "W": random(4, 3), "b": random(4), "C": random(1, 3, 4), "M": random(2, 2), "K": random(1, 1, 1, 1),
        "L": random(1, 1, 2), "a": np.array([1]), "flat": np.array([4]), "inf": np.float32(np.inf),
        "square": np.array([1, 2, 2]), "image": np.array([1, 1, 2, 2]), "line": np.array([1, 1, 4]),
    }  # fmt: skip
    if "transA" in nodes:
        constants["W"] = random(1, 3)
    with pytest.raises(ConfigurationError, match=REFUSED[nodes]):
        read_graph(write(tmp_path / "a.onnx", nodes, **constants))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("float[2,4] X", r"type FLOAT and shape \[2, 4\]; supported are"),
        ("float[1,N] X", r"shape \[1, 0\]"),
        ("float16[1,4] X", "type FLOAT16"),
        ("float[1,4] X, float[1,4] Z", "has 2 inputs and 1 outputs"),
    ],
)
def test_inputs_that_are_refused(given: str, message: str, tmp_path: Path) -> None:
    kind = given.partition("[")[0]
    with pytest.raises(ConfigurationError, match=rf"a\.onnx.*{message}"):
        write(tmp_path / "a.onnx", "Y = Relu(X)", given, kind)


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(ConfigurationError, match=r"a\.onnx cannot be read as ONNX"):
        OnnxNetwork(path)
    for content in (b"this is no protobuf", b""):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"a\.onnx cannot be read as ONNX"):
            OnnxNetwork(path)


def test_a_misread_network_is_noticed(tmp_path: Path) -> None:
    network = write(tmp_path / "a.onnx", "A = MatMul(X, W) Y = Relu(A)", W=random(4, 3))
    graph, tensors = read_graph(network)
    points = torch.rand(3, 4, dtype=torch.float64)
    compare(graph, tensors, network, points)
    wrong = {name: 1.01 * tensor for name, tensor in tensors.items()}
    with pytest.raises(UnsupportedOperationError, match="differs by"):
        compare(graph, wrong, network, points)
