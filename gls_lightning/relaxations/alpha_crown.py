"""alpha-CROWN."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import BackSubstitution, Box, Graph, Lines, LowerSlope, Node, Tensors
from gls_lightning.bounds.operations import Activation
from gls_lightning.relaxations.crown_ibp import CROWNIBP
from gls_lightning.relaxations.deep_poly import DeepPoly
from gls_lightning.relaxations.linear_relaxation import LinearRelaxation
from gls_lightning.relaxations.memory import TENSORS_PER_SLOPE, Coefficients, MemoryBudget

Bound = Callable[[Tensor], Tensor]
"""Maps shares ``[B * S, N]`` to lower bounds ``[B * S]``; a row depends on its own shares alone."""


class AlphaCROWN(LinearRelaxation):
    """alpha-CROWN (Xu et al., 2021): DeepPoly with optimised lower slopes.

    The slopes below the unstable activations in the last back-substitution are optimised for each sample and each
    function of the logits; the bounds of the inputs of activations stay as they are. No gradient flows to the
    parameters.

    Args:
        step_rule: ``adam``: Adam from DeepPoly's slopes; the best bound that any step met is kept, so none is looser
            than DeepPoly's. ``sign``: steps along the sign of the gradient from slopes of 0.5, and the bound after the
            last step; with the default of one step of 0.5, the variant of the paper (App. F.2), whose slopes become 0
            or 1. A slope without gradient becomes DeepPoly's there. A single bound may be looser than DeepPoly's.
        steps: Number of steps. By default 20 of Adam, or 1 along the sign.
        learning_rate: Size of the first step; slopes lie between 0 and 1.
        decay: Factor of the size from one step to the next.
        intermediate_bounds: Bounds of the inputs of activations: ``crown`` for DeepPoly's, ``ibp`` for intervals.
        memory_budget: GiB that the coefficients may take; ``auto`` is 0.4 of the memory of a GPU, and 4 on a CPU. A
            batch that needs more is bounded in parts.

    Raises:
        ConfigurationError: An argument is out of its range.

    Example:
        The best bound of all steps is kept, beginning with DeepPoly's, which it is not below but for rounding:

        >>> import torch
        >>> from gls_lightning.bounds import Box, trace
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.ReLU(), torch.nn.Linear(9, 2))
        >>> box, margin = Box.around(torch.rand(1, 4), epsilon=0.2), torch.tensor([[[1.0, -1.0]]])
        >>> problem = trace(network, (4,)), network.state_dict(), box, margin
        >>> bool(AlphaCROWN(steps=5)(*problem) > DeepPoly()(*problem) - 1e-5)
        True
    """

    differentiable = False

    def __init__(
        self,
        *,
        step_rule: Literal["adam", "sign"] = "adam",
        steps: int | None = None,
        learning_rate: float = 0.5,
        decay: float = 0.98,
        intermediate_bounds: Literal["crown", "ibp"] = "crown",
        memory_budget: MemoryBudget = "auto",
    ) -> None:
        super().__init__(memory_budget=memory_budget)
        require(step_rule in ("adam", "sign"), "step_rule", step_rule, "'adam' or 'sign'")
        require(steps is None or steps >= 1, "steps", steps, "at least 1, or null")
        require(learning_rate > 0, "learning_rate", learning_rate, "positive")
        require(0 < decay <= 1, "decay", decay, "above 0 and at most 1")
        known = intermediate_bounds in ("crown", "ibp")
        require(known, "intermediate_bounds", intermediate_bounds, "'crown' or 'ibp'")
        self.step_rule = step_rule
        self.steps = steps or {"adam": 20, "sign": 1}[step_rule]
        self.learning_rate = learning_rate
        self.decay = decay
        self.intermediate_bounds = intermediate_bounds
        self._intermediate = DeepPoly() if intermediate_bounds == "crown" else CROWNIBP()

    @override
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        return self._intermediate._relax(substitution)

    @override
    def _in_parts(self, graph: Graph, tensors: Tensors, intervals: Mapping[str, Box], specification: Tensor) -> Tensor:
        with torch.no_grad():
            return super()._in_parts(graph, tensors, intervals, specification)

    @override
    def _bound(self, graph: Graph, tensors: Tensors, known: Mapping[str, Box], specification: Tensor) -> Tensor:
        substitution = self._substitution(graph, tensors, known, specification)
        bound, deep_poly = _free_slopes(substitution, self._relax(substitution), specification)
        sizes = [self.learning_rate * self.decay**i for i in range(self.steps)]
        maximise = _by_adam if self.step_rule == "adam" else _by_signs
        return maximise(bound, deep_poly, sizes).view(specification.shape[:2])

    @override
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        kept, largest = super()._count(graph, shapes, rows)
        slopes = sum(node.operation.output_shape.numel() for node in graph.activations)
        return Coefficients(kept + TENSORS_PER_SLOPE * rows * slopes, largest)


def _by_adam(bound: Bound, deep_poly: Tensor, step_sizes: list[float]) -> Tensor:
    """Maximises by Adam (Kingma and Ba, 2015), written out because ``torch.optim`` does not work under vmap."""
    shares, best = deep_poly, deep_poly.new_full((len(deep_poly),), -torch.inf)
    mean = square = torch.zeros_like(shares)
    for i, size in enumerate(step_sizes, start=1):
        gradient, value = _gradient(bound, shares)
        best = torch.maximum(best, value)
        mean, square = mean.lerp(gradient, 0.1), square.lerp(gradient.square(), 0.001)
        direction = mean / (1 - 0.9**i) / ((square / (1 - 0.999**i)).sqrt() + 1e-8)
        shares = (shares + size * direction).clamp(0, 1)
    return torch.maximum(best, bound(shares))


def _by_signs(bound: Bound, deep_poly: Tensor, step_sizes: list[float]) -> Tensor:
    shares = torch.full_like(deep_poly, 0.5)
    for size in step_sizes:
        gradient, _ = _gradient(bound, shares)
        shares = torch.where(gradient == 0, deep_poly, (shares + size * gradient.sign()).clamp(0, 1))
    return bound(shares)


def _free_slopes(substitution: BackSubstitution, bounds: dict[str, Box], specification: Tensor) -> tuple[Bound, Tensor]:
    """Returns the bounds as a function of the lower slopes, and DeepPoly's slopes.

    Every row of every sample becomes a sample of its own. Its slopes are given as shares between the smallest (0) and
    the largest (1) sound one, those of all ``N`` neurons side by side.
    """
    graph, tensors = substitution.graph, substitution.tensors
    each = specification.reshape(-1, 1, graph.num_outputs)

    def repeat(per_sample: Tensor) -> Tensor:
        return per_sample.repeat_interleave(specification.shape[1], dim=0)

    def lower_slopes(rule: LowerSlope) -> Tensor:
        slopes = [_lines(node, bounds[node.name], rule).lower_slope.flatten(1) for node in graph.activations]
        return torch.cat([specification.new_empty(len(specification), 0), *slopes], dim=1)

    deep_poly, smallest, largest = (repeat(lower_slopes(rule)) for rule in ("adaptive", "zero", "one"))
    boxes = {name: Box(*map(repeat, box)) for name, box in substitution.boxes.items()}
    relaxed = BackSubstitution(graph, tensors, boxes)
    relaxed.lines = {name: Lines(*map(repeat, line)) for name, line in substitution.lines.items()}
    relaxed.extents = {
        name: (repeat(of_input), repeat(of_output)) for name, (of_input, of_output) in substitution.extents.items()
    }
    relaxed.reference(graph.output)
    shapes = {name: line.lower_slope.shape[1:] for name, line in relaxed.lines.items()}

    def bound(shares: Tensor) -> Tensor:
        slopes = (smallest + (largest - smallest) * shares).split([shape.numel() for shape in shapes.values()], dim=1)
        named = {name: slope.unflatten(1, shapes[name]) for name, slope in zip(shapes, slopes, strict=True)}
        return relaxed.with_lower_slopes(named).specification_bounds(each).flatten()

    return bound, (deep_poly == largest).to(deep_poly.dtype)


def _lines(node: Node, box: Box, rule: LowerSlope) -> Lines:
    assert isinstance(node.operation, Activation)
    return node.operation.lines(box, rule)


def _gradient(bound: Bound, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient of each row's bound in its own shares, ``[B * S, N]``, and the bounds."""

    def total(shares: Tensor) -> tuple[Tensor, Tensor]:
        lower = bound(shares)
        return lower.sum(), lower

    gradient, lower = torch.func.grad(total, has_aux=True)(shares)
    return gradient, lower
