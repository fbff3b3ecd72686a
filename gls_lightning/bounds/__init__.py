"""The mathematics of bounding a network: pure functions of tensors that know neither Lightning nor configurations."""

from gls_lightning.bounds._constants import holding_constants
from gls_lightning.bounds._tensor_float import TensorFloat32
from gls_lightning.bounds.back_substitution import BackSubstitution
from gls_lightning.bounds.box import Box
from gls_lightning.bounds.buckets import Buckets, current_buckets, fixed_sizes
from gls_lightning.bounds.counting_substitution import CountingSubstitution
from gls_lightning.bounds.graph import Graph
from gls_lightning.bounds.graph_structure import INPUT, Node
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.opaque_graph import OpaqueGraph
from gls_lightning.bounds.operations import Tensors, UnsupportedOperationError
from gls_lightning.bounds.rational import NotRationalError, Rationals, rounded_down, rounded_up
from gls_lightning.bounds.relaxed_network import Scale
from gls_lightning.bounds.rounding import gamma, per_sample
from gls_lightning.bounds.shape_inference import ShapeInference
from gls_lightning.bounds.specification import margin_specification, other_classes
from gls_lightning.bounds.tracing import trace
from gls_lightning.bounds.zonotope import Zonotope

__all__ = [
    "INPUT",
    "BackSubstitution",
    "Box",
    "Buckets",
    "CountingSubstitution",
    "Graph",
    "Lines",
    "LowerSlope",
    "Node",
    "NotRationalError",
    "OpaqueGraph",
    "Rationals",
    "Scale",
    "ShapeInference",
    "TensorFloat32",
    "Tensors",
    "UnsupportedOperationError",
    "Zonotope",
    "current_buckets",
    "fixed_sizes",
    "gamma",
    "holding_constants",
    "margin_specification",
    "other_classes",
    "per_sample",
    "rounded_down",
    "rounded_up",
    "trace",
]
