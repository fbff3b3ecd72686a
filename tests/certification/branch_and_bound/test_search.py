"""Verdicts against every activation pattern, solved by a linear program of its own, and against a MILP."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from torch import nn

from gls_lightning.attacks import PGD
from gls_lightning.bounds import Box, trace
from gls_lightning.certification import Certifier, Verdict
from gls_lightning.certification.branch_and_bound import Answer, BranchAndBound, Question
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import DeepPoly

UNCERTAIN = 1e-6
"""Margins nearer to 0 are left out."""


class Residual(nn.Module):
    """Two ReLUs, the first one's output once past the second layer, and BatchNorm."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden)
        self.second, self.last = nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.first(x)).relu()
        return self.last(hidden + self.second(hidden).relu())


def residual(inputs: int, hidden: int, outputs: int) -> nn.Module:
    net = Residual(inputs, hidden, outputs).eval()
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    return balanced(net, inputs)


def deep(inputs: int, hidden: int, outputs: int) -> nn.Module:
    layers = nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    return balanced(nn.Sequential(*layers), inputs)


def shallow(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return balanced(nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)), inputs)


def balanced(net: nn.Module, inputs: int) -> nn.Module:
    """Outputs of the same mean, or one class would win everywhere."""
    *_, last = (module for module in net.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        last.bias -= net(torch.rand(100, inputs)).mean(0)
    return net


def layers_of(net: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the linear layers, BatchNorm folded into the first one."""
    layers = []
    for module in net.modules():
        if isinstance(module, nn.Linear):
            layers.append([t.detach().double().numpy() for t in (module.weight, module.bias)])
        if isinstance(module, nn.BatchNorm1d):
            scale = (module.weight / (module.running_var.double() + module.eps).sqrt()).detach().numpy()
            shift = module.bias.detach().double().numpy() - scale * module.running_mean.double().numpy()
            layers[-1] = [scale[:, None] * layers[-1][0], scale * layers[-1][1] + shift]
    return layers


def least_margin_by_enumeration(net: nn.Module, lower: np.ndarray, upper: np.ndarray, row: np.ndarray) -> float:
    """The smallest ``row @ net(x)`` of the box: for each pattern of active ReLUs, a linear program."""
    *hidden, (last, bias) = layers_of(net)
    size, passes = len(hidden[0][1]), isinstance(net, Residual)
    smallest = math.inf
    for pattern in itertools.product((0.0, 1.0), repeat=size * len(hidden)):
        matrix, constant = np.eye(len(lower)), np.zeros(len(lower))
        constraints, limits = [], []
        for number, (weight, shift) in enumerate(hidden):
            active = np.array(pattern[number * size : (number + 1) * size])
            inner, inner_constant = weight @ matrix, weight @ constant + shift
            sign = 1 - 2 * active
            constraints.append(sign[:, None] * inner)
            limits.append(-sign * inner_constant)
            kept = (matrix, constant) if passes and number == 1 else (0, 0)
            matrix, constant = active[:, None] * inner + kept[0], active * inner_constant + kept[1]
        result = linprog(
            row @ last @ matrix,
            A_ub=np.concatenate(constraints),
            b_ub=np.concatenate(limits),
            bounds=list(zip(lower, upper, strict=True)),
        )
        if result.success:
            smallest = min(smallest, result.fun + row @ (last @ constant + bias))
    return smallest


def least_margin_by_milp(net: nn.Module, lower: np.ndarray, upper: np.ndarray, row: np.ndarray) -> float:
    """The same of a plain network with a binary variable for each ReLU ("big M")."""
    *hidden, (last, bias) = layers_of(net)
    sizes = [len(lower), *(n for _, shift in hidden for n in (len(shift), len(shift), len(shift)))]
    starts = np.cumsum([0, *sizes])
    total = starts[-1]
    low, high = np.full(total, -np.inf), np.full(total, np.inf)
    low[: len(lower)], high[: len(lower)] = lower, upper
    integral, constraints = np.zeros(total), []
    source, big = np.arange(len(lower)), 100.0
    for number, (weight, shift) in enumerate(hidden):
        before, after, active = (np.arange(starts[k], starts[k + 1]) for k in range(1 + 3 * number, 4 + 3 * number))
        integral[active], low[active], high[active], low[after] = 1, 0, 1, 0
        for i, (v, w, z) in enumerate(zip(before, after, active, strict=True)):
            for coefficients, at_least, at_most in (
                ({v: 1.0, **dict(zip(source, -weight[i], strict=True))}, shift[i], shift[i]),
                ({w: 1.0, v: -1.0}, 0.0, np.inf),
                ({w: 1.0, v: -1.0, z: big}, -np.inf, big),
                ({w: 1.0, z: -big}, -np.inf, 0.0),
            ):
                line = np.zeros(total)
                line[list(coefficients)] = list(coefficients.values())
                constraints.append(LinearConstraint(line, at_least, at_most))
        source = after
    objective = np.zeros(total)
    objective[source] = row @ last
    result = milp(objective, integrality=integral, bounds=Bounds(low, high), constraints=constraints)
    assert result.success
    return result.fun + row @ bias


def ask(net: nn.Module, box: Box, rows: torch.Tensor, offsets: torch.Tensor, **options: float) -> Answer:
    graph = trace(net, box.lower.shape[1:])
    tensors = {n: t.double() if t.is_floating_point() else t for n, t in net.state_dict().items()}
    with torch.no_grad():
        (answer,) = BranchAndBound(**options).search(graph, tensors, [Question(box, rows, offsets)])
    return answer


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize(("make", "hidden", "cases"), [(shallow, 5, 150), (deep, 2, 50), (residual, 2, 50)])
def test_no_wrong_verdict_and_none_unknown(
    make: Callable[[int, int, int], nn.Module], hidden: int, cases: int, steps: int
) -> None:
    """In one step hardly a bound is optimised, so that many subdomains are split to the end."""
    torch.manual_seed(hidden + steps)
    verdicts = {True: 0, False: 0}
    certifier = Certifier(relaxations=[], use_attack=False, branch_and_bound=BranchAndBound(steps=steps, batch_size=7))
    for _ in range(cases // 10):
        net = make(3, hidden, 2)
        x = torch.rand(10, 3)
        y = net(x).argmax(1)
        records = certifier.certify(trace(net, (3,)), dict(net.state_dict()), x, y, torch.arange(10), 0.15)
        for sample, label, record in zip(x.double().numpy(), y.tolist(), records, strict=True):
            lower, upper = np.clip(sample - 0.15, 0, 1), np.clip(sample + 0.15, 0, 1)
            row = np.array([1.0, -1.0]) * (1 - 2 * label)
            margin = least_margin_by_enumeration(net, lower, upper, row)
            if abs(margin) < UNCERTAIN:
                continue
            verdicts[margin > 0] += 1
            assert record.verdict == (Verdict.CERTIFIED if margin > 0 else Verdict.FALSIFIED)
            assert record.margin <= margin + 1e-9 if margin > 0 else margin - 1e-9 <= record.margin <= 0
    assert min(verdicts.values()) >= cases / 5


@pytest.mark.slow
def test_twelve_relus_against_a_milp() -> None:
    torch.manual_seed(0)
    verdicts = {True: 0, False: 0}
    for case in range(200):
        net = shallow(4, 12, 2) if case % 2 else deep(4, 6, 2)
        x = torch.rand(1, 4)
        box = Box.around(x.double(), 0.15)
        row = torch.tensor([1.0, -1.0]).double() * (1 - 2 * net(x).argmax(1))
        margin = least_margin_by_milp(net, box.lower[0].numpy(), box.upper[0].numpy(), row.numpy())
        if abs(margin) < UNCERTAIN:
            continue
        answer = ask(net, box, row[None, None], torch.zeros(1, 1).double())
        verdicts[margin > 0] += 1
        assert answer.decided
        assert (answer.point is None) == (margin > 0)
        if margin > 0:
            assert answer.lower.item() <= margin + 1e-7
    assert min(verdicts.values()) > 20


def test_nothing_is_certified_that_a_strong_attack_breaks() -> None:
    torch.manual_seed(0)
    net = balanced(nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 2)), 10)
    x, graph, tensors = torch.rand(60, 10), trace(net, (10,)), dict(net.state_dict())
    y = net(x).argmax(1)
    complete = Certifier(relaxations=[], use_attack=False, branch_and_bound=BranchAndBound(time_limit=5))
    strong = Certifier(relaxations=[], attack=PGD(steps=100, restarts=20, loss="margin"))
    proofs, attacks = (c.certify(graph, tensors, x, y, torch.arange(60), 0.12) for c in (complete, strong))
    pairs = [(proof.verdict, attack.verdict) for proof, attack in zip(proofs, attacks, strict=True)]
    assert (Verdict.CERTIFIED, Verdict.FALSIFIED) not in pairs
    assert pairs.count((Verdict.CERTIFIED, Verdict.UNKNOWN)) > 10
    assert pairs.count((Verdict.FALSIFIED, Verdict.FALSIFIED)) > 10
    assert sum(proof.subdomains for proof in proofs) > 200


def test_a_group_of_functions_is_reached_only_where_all_are_at_most_0() -> None:
    """The outputs are |x0 - 0.5| and |x1 - 0.5|, by two ReLUs each."""
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    state = {
        "0.weight": torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]),
        "0.bias": torch.tensor([-0.5, 0.5, -0.5, 0.5]),
        "2.weight": torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]),
        "2.bias": torch.zeros(2),
    }
    net.load_state_dict(state)
    box = Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())

    def reach(*points: tuple[float, float]) -> Answer:
        """Is some point's first output at most and its second at least the given one?"""
        rows = torch.tensor([[1.0, 0.0], [0.0, -1.0]]).double().expand(len(points), 2, 2)
        offsets = torch.tensor([[-first, second] for first, second in points]).double()
        return ask(net, box, rows, offsets)

    corner = reach((0.01, 0.49))
    assert corner.point is not None
    first, second = (corner.point - 0.5).abs().flatten().tolist()
    assert first <= 0.01 + 1e-12
    assert second >= 0.49 - 1e-12
    neither = reach((-0.01, 0.4), (0.1, 0.52))
    assert neither.point is None
    assert neither.decided
    assert neither.lower.tolist() <= [0.01 + 1e-9, 0.02 + 1e-9]
    assert reach((-0.01, 0.4), (0.1, 0.52), (0.2, 0.2)).point is not None


def test_time_is_limited_and_what_was_proven_is_kept() -> None:
    torch.manual_seed(0)
    net = balanced(nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 2)), 20)
    box = Box(torch.zeros(1, 20).double(), torch.ones(1, 20).double())
    sampled = net(torch.rand(10000, 20)).amin().item()
    row, offset = torch.tensor([[[1.0, 0.0]]]).double(), torch.tensor([[-3 * sampled]]).double()
    answer = ask(net, box, row, offset, time_limit=1.0)
    assert not answer.decided
    assert 1 <= answer.seconds < 10
    assert -math.inf < answer.lower.item() <= 0
    assert answer.subdomains > 1


def test_questions_are_answered_as_they_are_decided() -> None:
    torch.manual_seed(0)
    net = deep(4, 30, 2)
    graph, tensors = trace(net, (4,)), {n: t.double() for n, t in net.state_dict().items()}
    box = Box.around(torch.rand(1, 4).double(), 0.1)
    rows, far = torch.tensor([[[1.0, -1.0]], [[-1.0, 1.0]]]).double(), torch.full((2, 1), 100.0).double()
    two_groups, one_group, reached = (
        Question(box, rows, far),
        Question(box, rows[:1], far[:1]),
        Question(box, rows, -far),
    )
    with torch.no_grad():
        answers = list(BranchAndBound().search(graph, tensors, [two_groups, one_group, reached]))
    assert [answer.number for answer in answers] == [1, 2, 0]
    assert [answer.subdomains for answer in answers] == [1, 1, 2]
    assert [answer.point is None for answer in answers] == [True, False, True]
    assert answers[1].lower.tolist() == [-math.inf] * 2
    assert all(answer.decided for answer in answers)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_wrong_bounds_of_relu_inputs_are_noticed(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = deep(4, 30, 2)
    correct = DeepPoly.preactivation_bounds

    def too_narrow(*problem: Any) -> dict[str, Box]:
        boxes = correct(*problem)
        return {name: Box.from_centre(box.centre, share * box.radius) for name, box in boxes.items()}

    monkeypatch.setattr(DeepPoly, "preactivation_bounds", too_narrow)
    box = Box.around(torch.rand(1, 4).double(), 0.5)
    answer = ask(net, box, torch.tensor([[[1.0, -1.0]]]).double(), torch.zeros(1, 1).double())
    assert answer.error is not None
    assert answer.error.endswith("a bound is wrong")
    assert (answer.decided, answer.point, answer.lower.tolist()) == (False, None, [-math.inf])


def test_a_contradiction_ends_its_own_question_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = deep(4, 30, 2)
    graph, tensors = trace(net, (4,)), {n: t.double() for n, t in net.state_dict().items()}
    correct = DeepPoly.preactivation_bounds

    def too_narrow_for_large_boxes(*problem: Any) -> dict[str, Box]:
        share = 0.3 if problem[-1].radius.max() > 0.3 else 1.0
        return {name: Box.from_centre(b.centre, share * b.radius) for name, b in correct(*problem).items()}

    monkeypatch.setattr(DeepPoly, "preactivation_bounds", too_narrow_for_large_boxes)
    rows, zero = torch.tensor([[[1.0, -1.0]], [[-1.0, 1.0]]]).double(), torch.zeros(2, 1).double()
    centre = torch.full((1, 4), 0.5).double()
    questions = [Question(Box.around(centre, radius), rows, zero) for radius in (0.01, 0.5, 0.02)]
    with torch.no_grad():
        answers = {answer.number: answer for answer in BranchAndBound().search(graph, tensors, questions)}
    assert [answers[number].error is None for number in range(3)] == [True, False, True]
    assert [answers[number].decided for number in range(3)] == [True, False, True]


def test_a_linear_network_needs_no_split() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    box = Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    weight, bias = net[0].weight[0].double(), net[0].bias[0].double()
    least = (bias + weight.clamp(max=0).sum()).item()
    answer = ask(net, box, torch.tensor([[[1.0, 0.0]]]).double(), torch.tensor([[0.1 - least]]).double())
    assert answer.lower.item() == pytest.approx(0.1)
    assert answer.subdomains == 1


def test_other_activations_are_refused() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.LeakyReLU(0.1), nn.Linear(3, 2))
    box = Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    with pytest.raises(ConfigurationError, match="LeakyReLU, Tanh; branch and bound takes networks whose only"):
        ask(net, box, torch.ones(1, 1, 2).double(), torch.zeros(1, 1).double())


@pytest.mark.parametrize("name", ["time_limit", "batch_size", "steps", "learning_rate", "candidates", "memory_budget"])
def test_bad_options(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is 0; it must be"):
        BranchAndBound(**{name: 0})
