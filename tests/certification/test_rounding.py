"""Verdicts on networks whose weights are huge, tiny or cancel, against rational arithmetic."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import nn

from gls_lightning.bounds import Box, trace
from gls_lightning.certification import BranchAndBound, Certifier, Record, Verdict
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox

Points = list[Fraction]
Values = list[Points]
"""The outputs of a layer, each at every point."""


def of_layer(layer: nn.Linear, inputs: Values) -> Values:
    """The outputs, each at every point, without rounding."""
    weights, biases = layer.weight.tolist(), layer.bias.tolist()
    rows = [[Fraction(w) for w in row] for row in weights]
    return [
        [sum((w * x for w, x in zip(row, point, strict=True)), Fraction(b)) for point in zip(*inputs, strict=True)]
        for row, b in zip(rows, biases, strict=True)
    ]


def with_roots(points: Points, values: Values) -> Points:
    """The points, and those between them where an output that is linear in between is 0."""
    roots = {
        x + (y - x) * v / (v - w)
        for row in values
        for x, y, v, w in zip(points, points[1:], row, row[1:], strict=False)
        if (v < 0 < w) or (w < 0 < v)
    }
    return sorted({*points, *roots})


def outputs_at(net: nn.Sequential, points: Points) -> Values:
    values = [points]
    for layer in net:
        values = (
            of_layer(layer, values)
            if isinstance(layer, nn.Linear)
            else [[max(v, Fraction(0)) for v in row] for row in values]
        )
    return values


def least_margin(net: nn.Sequential, lower: float, upper: float, label: int) -> Fraction:
    """The smallest margin of a network with one input: that at an end or a kink."""
    points = sorted({Fraction(lower), Fraction(upper)})
    for end in [i for i, layer in enumerate(net) if isinstance(layer, nn.ReLU)]:
        points = with_roots(points, outputs_at(net[:end], points))
    logits = outputs_at(net, points)
    return min(a - b for k, row in enumerate(logits) if k != label for a, b in zip(logits[label], row, strict=True))


def random_network(generator: torch.Generator) -> nn.Sequential:
    """A small network with one input and weights of any size up to 1e18, some of which cancel."""

    def uniform(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    widths = [1, *(uniform(1, 4) for _ in range(uniform(0, 2))), uniform(2, 3)]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs).double()
        size = 10.0 ** uniform(-3, 18 if uniform(0, 1) else 1)
        with torch.no_grad():
            for values in layer.parameters():
                values.copy_(torch.randn(values.shape, generator=generator).float() * size)
                values[torch.rand(values.shape, generator=generator) < 0.3] = size
                values[torch.rand(values.shape, generator=generator) < 0.3] = -size
                values.copy_(values.float())
            if uniform(0, 2) == 0:  # what one neuron adds, another takes away
                layer.weight[:, -1] = -layer.weight[:, 0]
            if uniform(0, 3) == 0:
                layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


CERTIFIERS = [
    *(
        Certifier(relaxations=[r], use_attack=False)
        for r in (IBP(), HBox(), CROWNIBP(), DeepPoly(), AlphaCROWN(steps=3))
    ),
    Certifier(relaxations=[DeepPoly(skip_ibp_stable=True, intersect_ibp=True)]),
    Certifier(relaxations=[], use_attack=False, branch_and_bound=BranchAndBound(time_limit=2, steps=3)),
]


def require_right(net: nn.Sequential, record: Record, lower: float, upper: float) -> Fraction:
    least = least_margin(net, lower, upper, record.label)
    if record.verdict is Verdict.CERTIFIED:
        assert record.margin is not None
        assert 0 < record.margin <= least
    elif record.verdict is Verdict.FALSIFIED:
        assert record.counterexample is not None
        point = Fraction(record.counterexample.item())
        assert lower <= point <= upper
        assert least_margin(net, float(point), float(point), record.label) <= 0
    elif record.verdict is Verdict.UNKNOWN and record.margin is not None:
        assert record.margin <= least
    return least


def check_networks(seeds: range) -> Counter[tuple[str, bool]]:
    """Certifies and compares; counts the verdicts, with whether the network is robust."""
    verdicts: Counter[tuple[str, bool]] = Counter()
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        net = random_network(generator)
        x = torch.rand(1, 1, generator=generator).double()
        epsilon = 10.0 ** (-3 * torch.rand((), generator=generator).item())
        label = net(x).argmax(1)
        box = Box.around(x, epsilon)
        graph = trace(net, (1,))
        (record,) = CERTIFIERS[seed % len(CERTIFIERS)].certify(
            graph, dict(net.state_dict()), x, label, torch.tensor([0]), epsilon
        )
        least = require_right(net, record, box.lower.item(), box.upper.item())
        verdicts[record.verdict.value, least > 0] += 1
    return verdicts


def test_no_wrong_verdict_whatever_the_size_of_the_weights() -> None:
    verdicts = check_networks(range(300))
    assert verdicts["certified", True] > 50
    assert verdicts["falsified", False] > 30
    assert not verdicts["certified", False]
    assert not verdicts["falsified", True]
    assert not verdicts["error", True] + verdicts["error", False]


@pytest.mark.slow
def test_no_wrong_verdict_on_ten_thousand_networks() -> None:
    verdicts = check_networks(range(1000, 11000))
    print(verdicts)
    assert min(verdicts["certified", True], verdicts["falsified", False]) > 1000
