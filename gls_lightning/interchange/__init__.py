"""Networks and properties in the formats of other verifiers: ONNX and VNN-LIB."""

from importlib.util import find_spec

from gls_lightning.errors import ConfigurationError

for _package in ("onnx", "onnxruntime", "onnxscript"):
    if find_spec(_package) is None:
        raise ConfigurationError(f"the package {_package} is not installed; pip install 'gls-lightning[onnx]' adds it")
