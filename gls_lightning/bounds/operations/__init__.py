"""The operations that networks may consist of, each with all its rules."""

from gls_lightning.bounds.operations import _arithmetic as _arithmetic
from gls_lightning.bounds.operations.addition import Addition
from gls_lightning.bounds.operations.average_pooling import AveragePooling
from gls_lightning.bounds.operations.batch_norm import BatchNorm
from gls_lightning.bounds.operations.constant_affine import ConstantAffine
from gls_lightning.bounds.operations.convolution import Convolution
from gls_lightning.bounds.operations.elementwise import ElementwiseAffine
from gls_lightning.bounds.operations.fixed_tensor import FixedTensor
from gls_lightning.bounds.operations.identity import Identity
from gls_lightning.bounds.operations.leaky_relu import LeakyReLU
from gls_lightning.bounds.operations.linear import Linear
from gls_lightning.bounds.operations.operation import Activation, AffineOperation, Operation, Tensors
from gls_lightning.bounds.operations.registry import (
    BUILDERS,
    TRACED,
    Call,
    Constant,
    UnsupportedOperationError,
    implements,
    name_of,
)
from gls_lightning.bounds.operations.relu import ReLU
from gls_lightning.bounds.operations.reshape import Reshape
from gls_lightning.bounds.operations.s_shaped import SShaped
from gls_lightning.bounds.operations.sigmoid import Sigmoid
from gls_lightning.bounds.operations.tanh import Tanh

__all__ = [
    "BUILDERS",
    "TRACED",
    "Activation",
    "Addition",
    "AffineOperation",
    "AveragePooling",
    "BatchNorm",
    "Call",
    "Constant",
    "ConstantAffine",
    "Convolution",
    "ElementwiseAffine",
    "FixedTensor",
    "Identity",
    "LeakyReLU",
    "Linear",
    "Operation",
    "ReLU",
    "Reshape",
    "SShaped",
    "Sigmoid",
    "Tanh",
    "Tensors",
    "UnsupportedOperationError",
    "implements",
    "name_of",
]
