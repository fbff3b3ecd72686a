"""The mathematics of bounding a network: pure functions of tensors that know neither Lightning nor configurations."""

from gls_lightning.bounds.back_substitution import BackSubstitution, CountingSubstitution
from gls_lightning.bounds.box import Box
from gls_lightning.bounds.graph import Graph, Node
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.opaque_graph import OpaqueGraph
from gls_lightning.bounds.operations import Tensors, UnsupportedOperationError
from gls_lightning.bounds.rational import NotRationalError, Rationals, rounded_down, rounded_up
from gls_lightning.bounds.specification import margin_specification
from gls_lightning.bounds.tracing import trace

__all__ = [
    "BackSubstitution",
    "Box",
    "CountingSubstitution",
    "Graph",
    "Lines",
    "LowerSlope",
    "Node",
    "NotRationalError",
    "OpaqueGraph",
    "Rationals",
    "Tensors",
    "UnsupportedOperationError",
    "margin_specification",
    "rounded_down",
    "rounded_up",
    "trace",
]
