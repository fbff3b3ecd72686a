import itertools
import math
import time

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, trace
from gls_lightning.certification import BranchAndBound, Certifier, Record, Verdict
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, Relaxation

QUICK = PGD(steps=10, restarts=2, loss="margin")


def certify(net: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float, **settings) -> list[Record]:
    net = nn.Sequential(net)
    graph = trace(net, x.shape[1:])
    return Certifier(**settings).certify(graph, dict(net.state_dict()), x, y, torch.arange(len(x)), epsilon)


def linear(weight, bias=(0.0, 0.0)) -> nn.Linear:
    net = nn.Linear(len(weight[0]), len(weight))
    net.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    return net


class Claim(Relaxation):
    """Claims given bounds, whatever the network; remembers what it was asked."""

    def __init__(self, *bounds: float, sound: bool = True) -> None:
        self.bounds, self.sound, self.boxes, self.precisions = bounds, sound, [], []

    def __call__(self, graph, tensors, box, specification):
        self.boxes.append(box)
        self.precisions.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))
        self.dtypes = {t.dtype for t in (*tensors.values(), *box, specification)}
        return torch.tensor(self.bounds, dtype=torch.double).expand(specification.shape[:2])

    def preactivation_bounds(self, graph, tensors, box):
        raise NotImplementedError


class Proposal(Attack):
    """Proposes the lower corner shifted by a given distance."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def __call__(self, logits, lower, upper, labels, starts):
        return lower + self.shift


def exact_margin(net: nn.Sequential, x: np.ndarray, label: int, epsilon: float) -> float:
    """Smallest margin of a network with one hidden layer over a box, by an LP for every activation pattern."""
    (w, b), (v, c) = (
        (m.weight.double().numpy(force=True), m.bias.double().numpy(force=True)) for m in (net[0], net[2])
    )
    bounds = list(zip(np.clip(x - epsilon, 0, 1), np.clip(x + epsilon, 0, 1), strict=True))
    smallest = math.inf
    for pattern, other in itertools.product(itertools.product((0, 1), repeat=len(b)), range(len(c))):
        if other == label:
            continue
        sign = 1 - 2 * np.array(pattern)  # active: -(w x + b) <= 0
        row = (v[label] - v[other]) * pattern
        result = linprog(row @ w, A_ub=sign[:, None] * w, b_ub=-sign * b, bounds=bounds)
        if result.success:
            smallest = min(smallest, result.fun + row @ b + c[label] - c[other])
    return smallest


def test_no_wrong_verdict_against_enumeration():
    torch.manual_seed(0)
    verdicts = []
    for _ in range(3):
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
        x = torch.rand(10, 3)
        y = net(x).argmax(1)
        for sample, record in zip(x.double().numpy(), certify(net, x, y, 0.25, attack=QUICK), strict=True):
            exact = exact_margin(net, sample, record.label, 0.25)
            verdicts.append(record.verdict)
            if record.verdict is Verdict.CERTIFIED:
                assert 0 < record.margin <= exact + 1e-9
            elif record.verdict is Verdict.FALSIFIED:
                assert exact - 1e-9 <= record.margin <= 0
            else:
                assert record.margin <= exact + 1e-9
    assert verdicts.count(Verdict.CERTIFIED) >= 5
    assert verdicts.count(Verdict.FALSIFIED) >= 5


def test_a_linear_network_is_decided_completely():
    torch.manual_seed(0)
    net, x = nn.Linear(5, 3), torch.rand(40, 5)
    y = (net(x).argmax(1) + (torch.arange(40) % 4 == 0)) % 3
    margins = []
    for sample, label in zip(x.double(), y.tolist(), strict=True):
        w, b = net.weight.double(), net.bias.double()
        box = (sample - 0.2).clamp(0, 1), (sample + 0.2).clamp(0, 1)
        rows = [(w[label] - w[i], b[label] - b[i]) for i in range(3) if i != label]
        margins.append(min((r.clamp(min=0) @ box[0] + r.clamp(max=0) @ box[1] + c).item() for r, c in rows))
    correct = (net(x).argmax(1) == y).tolist()
    expected = [
        Verdict.CERTIFIED if m > 0 else Verdict.FALSIFIED if ok else Verdict.MISCLASSIFIED
        for m, ok in zip(margins, correct, strict=True)
    ]
    records = certify(net, x, y, 0.2, attack=QUICK)
    assert [record.verdict for record in records] == expected
    assert {*expected} == {Verdict.CERTIFIED, Verdict.FALSIFIED, Verdict.MISCLASSIFIED}
    for record, margin in zip(records, margins, strict=True):
        if record.verdict is not Verdict.MISCLASSIFIED:
            assert record.margin == pytest.approx(margin, abs=1e-9)


def test_counterexamples_are_misclassified_points_of_the_box():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.rand(20, 4)
    records = certify(net, x, net(x).argmax(1), 0.2, attack=QUICK)
    falsified = [record for record in records if record.verdict is Verdict.FALSIFIED]
    assert falsified
    for record in falsified:
        point = record.counterexample
        assert record.stage == "PGD"
        assert (point - x[record.index].double()).abs().max() <= 0.2 + 1e-15
        assert point.min() >= 0
        assert point.max() <= 1
        assert net.double()(point[None]).argmax() != record.label
    assert all(r.counterexample is None for r in records if r.verdict is not Verdict.FALSIFIED)


X, Y = torch.tensor([[0.5, 0.4]]), torch.tensor([0])
IDENTITY = linear([[1.0, 0.0], [0.0, 1.0]])


def test_every_verdict_is_reached():
    # hidden x1 + 3, x1 + 3 keeps the margin at x0 - x1 + 0.5; interval arithmetic forgets that they move together
    net = nn.Sequential(linear([[1.0], [1.0]], (3.0, 3.0)), nn.ReLU(), linear([[1.0, 0.0], [0.0, 1.0]], (0.1, 0.0)))
    x = torch.tensor([[0.5]])
    (unknown,) = certify(net, x, Y, 0.2, relaxations=[IBP()], attack=QUICK)
    (certified,) = certify(net, x, Y, 0.2, relaxations=[IBP(), CROWNIBP()], attack=QUICK)
    assert (unknown.verdict, unknown.stage) == (Verdict.UNKNOWN, None)
    assert unknown.margin == pytest.approx(-0.3)
    assert (certified.verdict, certified.stage) == (Verdict.CERTIFIED, "CROWNIBP")
    assert certified.margin == pytest.approx(0.1)

    (falsified,) = certify(IDENTITY, X, Y, 0.1, attack=QUICK)
    assert (falsified.verdict, falsified.stage, falsified.prediction) == (Verdict.FALSIFIED, "PGD", 0)
    assert falsified.margin == pytest.approx(-0.1)
    (misclassified,) = certify(IDENTITY, X, 1 - Y, 0.1, attack=QUICK)
    assert (misclassified.verdict, misclassified.stage, misclassified.prediction) == (
        Verdict.MISCLASSIFIED,
        "natural",
        0,
    )
    assert misclassified.margin == pytest.approx(-0.1)
    with pytest.warns(UserWarning, match="at sample 0: natural computed no number"):
        (error,) = certify(linear([[math.nan, 0.0], [0.0, 1.0]]), X, Y, 0.1, attack=QUICK)
    assert (error.verdict, error.stage, error.prediction, error.margin) == (Verdict.ERROR, "natural", None, None)


@pytest.mark.parametrize("claim", [math.nan, math.inf])
def test_a_bound_that_is_no_number_is_an_error_not_unknown(claim):
    with pytest.warns(UserWarning, match="at sample 0: Claim computed no number"):
        (record,) = certify(IDENTITY, X, Y, 0.01, relaxations=[Claim(claim), IBP()], use_attack=False)
    assert (record.verdict, record.stage, record.margin, record.prediction) == (Verdict.ERROR, "Claim", None, 0)


def test_no_bound_at_all_is_unknown_without_a_margin():
    (record,) = certify(IDENTITY, X, Y, 0.01, relaxations=[Claim(-math.inf)], use_attack=False)
    assert (record.verdict, record.margin) == (Verdict.UNKNOWN, None)


def test_a_bound_of_zero_certifies_nothing():
    (record,) = certify(IDENTITY, X, Y, 0.01, relaxations=[Claim(0.0)], use_attack=False)
    assert record.verdict is Verdict.UNKNOWN


def test_equal_logits_certify_nothing():
    net = linear([[0.0, 0.0]] * 3, (1.0, 1.0, 1.0))
    x, y = torch.rand(6, 2), torch.arange(6) % 3
    for use_attack in (True, False):
        verdicts = [record.verdict for record in certify(net, x, y, 0.1, use_attack=use_attack)]
        # the first class is the prediction, but the sample itself gives others the same logit
        assert verdicts == [Verdict.FALSIFIED, Verdict.MISCLASSIFIED, Verdict.MISCLASSIFIED] * 2


def test_a_counterexample_ends_its_sample_whatever_a_relaxation_claims():
    claim = Claim(1.0)
    (record,) = certify(IDENTITY, X, Y, 0.1, relaxations=[claim], attack=QUICK)
    assert record.verdict is Verdict.FALSIFIED
    assert not claim.boxes


def test_a_claim_above_a_value_that_the_network_takes_is_an_error_of_its_sample_alone():
    # the attack finds no counterexample, yet the margin at the first sample itself is 0.1 only
    x, y = torch.cat([X, torch.tensor([[0.9, 0.1]])]), torch.zeros(2, dtype=torch.int64)
    with pytest.warns(
        UserWarning, match=r"failed at 1 samples \(0\); at sample 0: after Claim, a lower bound lies above"
    ):
        error, certified = certify(IDENTITY, x, y, 0.01, relaxations=[Claim(0.2)], attack=QUICK)
    assert (error.verdict, error.stage, error.margin) == (Verdict.ERROR, "Claim", None)
    assert (certified.verdict, certified.margin, certified.reason) == (Verdict.CERTIFIED, 0.2, None)
    value = (X[0, 0].double() - X[0, 1].double()).item()
    (record,) = certify(IDENTITY, X, Y, 0.0, relaxations=[Claim(value + 1e-10)], attack=QUICK)
    assert record.verdict is Verdict.CERTIFIED, "rounding is no contradiction"


@pytest.mark.parametrize(("seed", "reason"), [(0, "a ReLU's input lies outside"), (3, "branch and bound proved")])
def test_a_contradiction_within_branch_and_bound_is_an_error_of_its_sample(seed, reason, monkeypatch):
    correct = DeepPoly.preactivation_bounds

    def too_narrow_around_the_first(self, graph, tensors, box):
        share = 0.3 if box.centre.flatten()[0] > 0.5 else 1.0
        boxes = correct(self, graph, tensors, box)
        return {name: Box.from_centre(b.centre, share * b.radius) for name, b in boxes.items()}

    monkeypatch.setattr(DeepPoly, "preactivation_bounds", too_narrow_around_the_first)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 2))
    x = torch.tensor([[0.7, 0.4], [0.3, 0.4]])
    net[-1].bias.data += torch.tensor([1e-3, 0.0]) - net(x[:1])[0].detach()  # the first sample is a close one
    settings = {"relaxations": [], "use_attack": False, "branch_and_bound": BranchAndBound(time_limit=10)}
    with pytest.warns(UserWarning, match=r"failed at 1 samples \(0\); at sample 0: .* a bound is wrong"):
        error, decided = certify(net, x, net(x).argmax(1), 0.3, **settings)
    assert (error.verdict, error.stage, error.margin) == (Verdict.ERROR, "BranchAndBound", None)
    assert error.reason.startswith(reason)
    assert error.subdomains > 0
    assert decided.verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED)


@pytest.mark.parametrize(
    ("shift", "verdict"), [(-0.5, Verdict.UNKNOWN), (0.9, Verdict.UNKNOWN), (0.0, Verdict.FALSIFIED)]
)
def test_a_proposal_counts_only_inside_the_box(shift, verdict):
    # every point with x0 below 0.45 is misclassified
    net = linear([[1.0, 0.0], [0.0, 0.0]], (-0.45, 0.0))
    net_reversed = linear([[-1.0, 0.0], [0.0, 0.0]], (0.75, 0.0))
    (record,) = certify(net if shift <= 0 else net_reversed, X, Y, 0.1, relaxations=[], attack=Proposal(shift))
    assert record.verdict is verdict


def test_rows_are_proved_by_whichever_relaxation_is_better():
    net = linear([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], (1.0, 0.0, 0.0))
    (record,) = certify(net, X, Y, 0.1, relaxations=[Claim(1.0, -1.0), Claim(-1.0, 1.4)], use_attack=False)
    assert (record.verdict, record.margin) == (Verdict.CERTIFIED, 1.0)


def test_only_undecided_samples_go_on():
    x = torch.tensor([[0.5, 0.4], [0.9, 0.1], [0.4, 0.5], [0.6, 0.4]])
    last = Claim(-1.0)
    records = certify(IDENTITY, x, torch.zeros(4, dtype=torch.int64), 0.08, relaxations=[IBP(), last], use_attack=False)
    # by intervals the margin is x0 - x1 - 0.16: decided for the second and fourth; the third is wrong
    assert [record.stage for record in records] == [None, "IBP", "natural", "IBP"]
    (box,) = last.boxes
    torch.testing.assert_close(box.lower, x[:1].double() - 0.08)


def test_time_adds_up_over_the_stages():
    class Slow(Claim):
        def __call__(self, *arguments):
            time.sleep(0.02)
            return super().__call__(*arguments)

    records = certify(
        IDENTITY, X.expand(2, -1), Y.expand(2), 0.1, relaxations=[Slow(-1.0), Slow(-1.0)], use_attack=False
    )
    assert sum(record.seconds for record in records) >= 0.04


def test_computes_in_float64_and_leaves_the_network_alone():
    claim = Claim(-1.0)
    certify(IDENTITY, X, Y, 0.1, relaxations=[claim], use_attack=False)
    assert claim.dtypes == {torch.float64}
    assert IDENTITY.weight.dtype == torch.float32


@pytest.fixture
def tf32():
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "tf32"
    yield
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before


def test_tf32_is_off_inside_and_restored_even_after_a_failure(tf32):
    claim = Claim(-1.0)
    certify(IDENTITY, X, Y, 0.1, relaxations=[claim], use_attack=False)
    assert claim.precisions == [("ieee", "ieee")]
    with pytest.raises(RuntimeError):
        certify(IDENTITY, X, Y, 0.1, relaxations=[Claim(1.0, 1.0)], use_attack=False)
    assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "tf32"


def test_result_does_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x, y = torch.rand(15, 4), torch.arange(15) % 3
    runs = [certify(net, x, y, 0.1, attack=QUICK, batch_size=size) for size in (1, 4, 100)]
    for one, *others in zip(*runs, strict=True):
        for other in others:
            assert (other.verdict, other.stage, other.prediction) == (one.verdict, one.stage, one.prediction)
            assert other.margin == pytest.approx(one.margin, abs=1e-12)
            assert other.seconds > 0


def test_records_keep_order_and_index():
    net, x, y = nn.Sequential(nn.Linear(4, 3)), torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    indices = torch.tensor([40, 7, 99, 0, 3])
    certifier = Certifier(attack=QUICK, batch_size=2)
    records = certifier.certify(trace(net, (4,)), dict(net.state_dict()), x, y, indices, 0.1)
    assert [record.index for record in records] == indices.tolist()
    assert [record.label for record in records] == y.tolist()


def test_no_sample_gives_no_record():
    assert certify(IDENTITY, X[:0], Y[:0], 0.1) == []


def test_default_cascade():
    assert [stage.name for stage in Certifier().stages] == ["natural", "PGD", "IBP", "CROWNIBP", "DeepPoly"]
    relaxations = [DeepPoly(), IBP()]
    assert [stage.name for stage in Certifier(relaxations=relaxations, use_attack=False).stages] == [
        "natural",
        "DeepPoly",
        "IBP",
    ]


def test_a_network_that_a_stage_does_not_take_is_refused_at_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with pytest.raises(ConfigurationError, match=r"the network has Tanh; .* without the stage BranchAndBound"):
        certify(net, X, Y, 0.1, relaxations=[Claim(0.0)], branch_and_bound=BranchAndBound())


def test_an_unsound_relaxation_is_refused():
    with pytest.raises(ConfigurationError, match="Claim, which is not sound"):
        Certifier(relaxations=[IBP(), Claim(1.0, sound=False)])


def test_bad_input_is_refused():
    with pytest.raises(ConfigurationError, match="batch_size is 0"):
        Certifier(batch_size=0)
    for epsilon in (-0.1, math.nan):
        with pytest.raises(ConfigurationError, match="epsilon is"):
            certify(IDENTITY, X, Y, epsilon)
    for value in (1.5, -0.1, math.nan):
        with pytest.raises(ConfigurationError, match=rf"position 0 \(index 0 .*\): the image holds {value} at \[0\]"):
            certify(IDENTITY, torch.full((1, 2), value), Y, 0.1)
    for labels, message in ((Y - 3, "the label is"), (Y + 2, "those of 2 classes are 0 to 1"), (Y.float(), "float32")):
        with pytest.raises(ConfigurationError, match=message):
            certify(IDENTITY, X, labels, 0.1)
    with pytest.raises(ConfigurationError, match="indices repeat"):
        Certifier().certify(trace(IDENTITY, (2,)), {}, X.repeat(2, 1), Y.repeat(2), torch.zeros(2, dtype=int), 0.1)
