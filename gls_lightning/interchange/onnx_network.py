"""A network in an ONNX file, with its evaluation by onnxruntime and by the onnx package."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors  # type: ignore[import-untyped]

from gls_lightning.errors import ConfigurationError

_PRECISIONS: dict[int, Any] = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}


class OnnxNetwork:
    """A network with one input and one output, whose first dimensions are the batch.

    Args:
        path: The file.

    Raises:
        ConfigurationError: The file cannot be read or is no valid ONNX, or the network is of another form.

    Attributes:
        path: The file.
        proto: The network's nodes and constants.
        input_name: Name of the input.
        output_name: Name of the output.
        input_shape: Shape of the input without the batch.
        precision: The type of the input, float32 or float64.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        model = _read(path)
        self._model, self.proto = model, model.graph
        constants = {constant.name for constant in self.proto.initializer}
        inputs = [value for value in self.proto.input if value.name not in constants]
        if len(inputs) != 1 or len(self.proto.output) != 1:
            raise ConfigurationError(
                f"{path} has {len(inputs)} inputs and {len(self.proto.output)} outputs; one of each is supported"
            )
        self.input_name, self.output_name = inputs[0].name, self.proto.output[0].name
        self.input_shape, self.precision = self._kind(inputs[0].type.tensor_type)
        self._evaluator = _evaluator(model)
        self._runtime = _runtime(path)

    def _kind(self, kind: onnx.TypeProto.Tensor) -> tuple[torch.Size, type[np.floating]]:
        batch, *shape = [dimension.dim_value for dimension in kind.shape.dim] or [0]
        if batch > 1 or not all(size > 0 for size in shape) or kind.elem_type not in _PRECISIONS:
            raise ConfigurationError(
                f"{self.path}: the input has type {onnx.TensorProto.DataType.Name(kind.elem_type)} and shape "
                f"{[batch, *shape]}; supported are FLOAT and DOUBLE, a first dimension of 1 or of any size (0), and "
                "fixed others"
            )
        return torch.Size(shape), _PRECISIONS[kind.elem_type]

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Computes the outputs ``[N, K]`` at points ``[N, *input_shape]`` in ``precision``; the result is float64.

        This is done by onnxruntime or, if that lacks an operation in this precision, by the onnx package.
        """
        return self._run(self._runtime or self._evaluator, points.astype(self.precision))

    def in_float64(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Computes the outputs ``[N, K]`` at points ``[N, *input_shape]`` in float64, by the onnx package.

        Raises:
            ConfigurationError: The onnx package cannot evaluate the network.
        """
        with self._evaluation():
            return self._run(self._in_float64, points)

    @cached_property
    def _in_float64(self) -> Any:
        return _evaluator(_with_doubles(self._model, self.varying, self.values()))

    @cached_property
    def varying(self) -> set[str]:
        """Names of the values that depend on the input, the input's own among them."""
        names = {self.input_name}
        for node in self.proto.node:
            # A subgraph inside a node may depend on the input; the shape of a value never does.
            parts = any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute)
            if parts or (node.op_type != "Shape" and not names.isdisjoint(node.input)):
                names.update(node.output)
        return names

    def _run(self, evaluator: Any, points: NDArray[np.floating]) -> NDArray[np.float64]:
        outputs = [evaluator.run(None, {self.input_name: point[None]})[0] for point in points]
        return np.stack(outputs).reshape(len(points), -1).astype(np.float64)

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigurationError(f"{self.path} cannot be evaluated by the onnx package: {reason}") from error

    def values(self) -> dict[str, NDArray[np.generic]]:
        """Computes every value of the network at one example, by its name, constants included.

        Raises:
            ConfigurationError: The onnx package cannot evaluate the network.
        """
        example = np.full((1, *self.input_shape), 0.5, self.precision)
        with self._evaluation():
            return dict(self._evaluator.run(None, {self.input_name: example}, intermediate=True))


class BatchNormalization(OpRun):
    """BatchNorm in inference, with the given statistics, for every version of the operation.

    For versions before 14 the onnx package also uses the batch's statistics (onnx pull request 8442).
    """

    op_domain = ""

    def _run(self, x: Any, *parameters: Any, epsilon: float = 1e-5, **_: Any) -> tuple[Any]:
        scale, bias, mean, variance = (p.reshape(-1, *(1,) * (x.ndim - 2)) for p in parameters)
        return (((x - mean) / np.sqrt(variance + epsilon) * scale + bias).astype(x.dtype),)


def _evaluator(model: onnx.ModelProto) -> Any:
    return ReferenceEvaluator(model, new_ops=[BatchNormalization])


def _runtime(path: Path) -> Any:
    """Opens a silent session of onnxruntime on one thread; None if it lacks an operation."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (runtime_errors.NotImplemented, runtime_errors.Fail, runtime_errors.InvalidGraph):
        return None


def _with_doubles(model: onnx.ModelProto, varying: set[str], values: Mapping[str, Any]) -> onnx.ModelProto:
    """Converts the part of the network that depends on the input from float32 to float64; constants stay exact."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    nodes = [node for node in model.graph.node if not varying.isdisjoint(node.output)]
    constants = {name for node in nodes for name in node.input if name and name not in varying}
    wide.graph.ClearField("node")
    wide.graph.ClearField("initializer")
    wide.graph.node.extend(nodes)
    wide.graph.initializer.extend(onnx.numpy_helper.from_array(_wide(values[name]), name) for name in constants)
    for node in wide.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE
    return wide


def _wide(value: Any) -> NDArray[np.generic]:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except (OSError, DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{path} cannot be read as ONNX: {reason}") from error
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            where = f"operation {node.op_type} of {node.domain} at {node.name or node.output[0]!r}"
            raise ConfigurationError(f"{path}: {where} is not part of ONNX itself")
    return model
