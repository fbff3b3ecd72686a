"""Branch and bound over the signs of ReLU inputs."""

import time
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.bounds.operations import ReLU
from gls_lightning.certification.branch_and_bound._branching import choose_relu
from gls_lightning.certification.branch_and_bound._examined import Examined, Selection, assemble, spread
from gls_lightning.certification.branch_and_bound._leaf import minimise_leaf
from gls_lightning.certification.branch_and_bound._optimisation import optimise
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains, side_by_side
from gls_lightning.certification.branch_and_bound._tree import Tree
from gls_lightning.certification.branch_and_bound.falsification import descend, minimum_around
from gls_lightning.certification.branch_and_bound.question import Answer, Question
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, TENSORS_PER_SLOPE, DeepPoly, number_that_fits


class BranchAndBound:
    """Decides questions about ReLU networks completely, if time allows.

    A subdomain is bounded with optimised slopes and multipliers of its splits (beta-CROWN, Wang et al., 2021), over
    bounds of the ReLU inputs that are computed once. If that does not prove it, it is split at a ReLU (filtered smart
    branching, De Palma et al., 2021); if no unstable ReLU is left, a linear program decides it. Subdomains of all
    questions are bounded together. From every point where a bound is smallest, a short attack descends; now and then a
    linear program, for the ReLUs as they act there, goes on from the best one.

    Args:
        time_limit: Seconds for each question; what is undecided then stays so. Time that questions spend together is
            divided among them.
        batch_size: Number of subdomains that are bounded together, as far as the memory budget allows.
        steps: Steps of Adam for each subdomain.
        learning_rate: Size of the first step.
        candidates: Number of ReLUs that are tried before a subdomain is split.
        memory_budget: GiB that a batch of subdomains may take, gradients included.

    Raises:
        ConfigurationError: An argument is out of its range.
    """

    def __init__(
        self,
        *,
        time_limit: float = 100.0,
        batch_size: int = 256,
        steps: int = 10,
        learning_rate: float = 0.1,
        candidates: int = 8,
        memory_budget: float = 4.0,
    ) -> None:
        positive = {"time_limit": time_limit, "learning_rate": learning_rate, "memory_budget": memory_budget}
        for name, value in positive.items():
            require(value > 0, name, value, "positive")
        for name, number in {"batch_size": batch_size, "steps": steps, "candidates": candidates}.items():
            require(number >= 1, name, number, "at least 1")
        self.time_limit = time_limit
        self.batch_size = batch_size
        self.steps = steps
        self.learning_rate = learning_rate
        self.candidates = candidates
        self.memory_budget = memory_budget
        self._intermediate = DeepPoly(skip_ibp_stable=True, intersect_ibp=True)

    def check(self, graph: Graph) -> None:
        """Refuses networks with activations other than ReLU.

        Raises:
            ConfigurationError: The network has one.
        """
        others = sorted({type(n.operation).__name__ for n in graph.activations if not isinstance(n.operation, ReLU)})
        if others:
            raise ConfigurationError(
                f"the network has {', '.join(others)}; branch and bound takes networks whose only activation is ReLU, "
                "so others are certified without the stage BranchAndBound"
            )

    def search(self, graph: Graph, tensors: Tensors, questions: Sequence[Question]) -> Iterator[Answer]:
        """Answers questions as they are decided, or as their time is over.

        Args:
            graph: The network.
            tensors: Its parameters and buffers, float64.
            questions: The questions, in float64 on the same device.

        Raises:
            ConfigurationError: The network has activations other than ReLU.
        """
        self.check(graph)
        graph = graph.rigorously()
        size = self._size_of_batch(graph, tensors)
        waiting = deque(enumerate(questions))
        active: deque[Tree] = deque()
        while waiting or active:
            while waiting and len(active) < size:
                active.append(self._plant(graph, tensors, *waiting.popleft()))
            self._examine(graph, tensors, active, size)
            for tree in [tree for tree in active if tree.done or tree.seconds >= self.time_limit]:
                active.remove(tree)
                yield tree.answer()

    def _size_of_batch(self, graph: Graph, tensors: Tensors) -> int:
        neurons = sum(graph.by_name[name].operation.output_shape.numel() for name in graph.relus)
        numbers = CROWNIBP().coefficients(graph, tensors, rows=1) + TENSORS_PER_SLOPE * neurons
        return max(1, min(self.batch_size, number_that_fits(self.memory_budget, numbers, element_size=8)))

    def _plant(self, graph: Graph, tensors: Tensors, number: int, question: Question) -> Tree:
        started = time.perf_counter()
        bounds = self._intermediate.preactivation_bounds(graph, tensors, question.box)
        sides = (side_by_side((bounds[name][side] for name in graph.relus), question.box.lower) for side in (0, 1))
        tree = Tree(number, question, Box(*sides))
        tree.seconds += time.perf_counter() - started
        return tree

    def _examine(self, graph: Graph, tensors: Tensors, active: deque[Tree], size: int) -> None:
        """Bounds a batch of subdomains, those of the oldest tree first, so that answers come one by one."""
        started = time.perf_counter()
        batch: Selection = []
        for tree in active:
            while tree.has_open and len(batch) < size:
                batch.append((tree, tree.take()))
        self._bound(assemble(graph, tensors, batch), batch)
        seconds = (time.perf_counter() - started) / len(batch)
        for tree, _ in batch:
            tree.seconds += seconds
        for tree in active:
            tree.finish_group()

    def _bound(self, subdomains: Subdomains, batch: Selection) -> None:
        """Bounds the subdomains of a batch, and closes them or puts parts in their place."""
        shares = torch.stack([subdomain.shares for _, subdomain in batch]).float() / 255
        multipliers = spread([(s.relus, s.multipliers) for _, s in batch], torch.zeros_like(shares))
        bounded = optimise(subdomains, shares, multipliers, steps=self.steps, learning_rate=self.learning_rate)
        examined = Examined(subdomains, bounded, batch).close_proven()
        self._falsify(examined)
        has_unstable = examined.subdomains.unstable.any(1).tolist()
        open_ = [i for i, (tree, _) in enumerate(examined.batch) if not tree.done]
        for i in open_:
            if not has_unstable[i]:
                self._decide_leaf(examined.select([i]))
        if to_split := [i for i in open_ if has_unstable[i]]:
            self._split(examined.select(to_split))

    def _split(self, examined: Examined) -> None:
        subdomains, bounded, batch = examined
        relus = choose_relu(subdomains, bounded, self.candidates)
        rows = zip(batch, relus, bounded.lower.tolist(), bounded.multipliers, bounded.shares, strict=True)
        for (tree, subdomain), relu, lower, multipliers, shares in rows:
            known = max(subdomain.lower, lower)
            tree.branch(subdomain.parts(relu, lower=known, multipliers=multipliers, shares=shares))

    def _falsify(self, examined: Examined) -> None:
        """Tries points of each box: where its bound is smallest, and what lies below from there."""
        points = descend(examined.subdomains, examined.bounded.points)
        examined.compare_with_bounds(points)
        best: dict[Tree, tuple[float, int]] = {}
        for i, value in enumerate(examined.subdomains.largest_from_above(points).tolist()):
            tree, _ = examined.batch[i]
            tree.try_point(points[[i]], value)
            best[tree] = min(best.get(tree, (value, i)), (value, i))
        for tree, (_, i) in best.items():
            if not tree.done and tree.comes_due():
                one = examined.select([i]).subdomains
                _try_minimum(tree, one, minimum_around(one, points[[i]], time_limit=self._left(tree)))

    def _decide_leaf(self, leaf: Examined) -> None:
        ((tree, subdomain),) = leaf.batch
        minimum = minimise_leaf(leaf.subdomains, time_limit=self._left(tree))
        _try_minimum(tree, leaf.subdomains, minimum.point)
        if not tree.done:
            tree.close(max(subdomain.lower, minimum.lower(leaf.subdomains)))

    def _left(self, tree: Tree) -> float:
        return max(self.time_limit - tree.seconds, 1.0)


def _try_minimum(tree: Tree, subdomain: Subdomains, point: Tensor | None) -> None:
    if point is not None:
        tree.try_point(point, subdomain.largest_from_above(point).item())
