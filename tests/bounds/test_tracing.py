import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gls_lightning.bounds import Box, UnsupportedOperationError, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly


class Functional(nn.Module):
    """Uses functions, methods, a reused module and its own shapes, as people write networks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.again = nn.Conv2d(2, 2, 3, padding=1)
        self.act = nn.ReLU()
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv((x - 0.5) / 0.25))
        x = x + self.act(self.again(x))
        x = F.relu(self.again(x)).view(x.size(0), -1)
        return self.fc(F.dropout(x, 0.5, self.training))


def test_functions_methods_and_reused_modules() -> None:
    network = Functional().eval()
    graph = trace(network, (1, 4, 4))
    x = torch.rand(3, 1, 4, 4)
    torch.testing.assert_close(graph(network.state_dict(), x), network(x))
    assert len(graph.relus) == 3
    assert len(set(graph.by_name)) == len(graph.nodes)


def test_the_network_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trace(network, (1, 4, 4))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class MixesSamples(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Multiplies(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


@pytest.mark.parametrize(
    ("network", "shape", "parts"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)), (4,), ["GELU", "'2'", "ReLU"]),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode="reflect", padding=1)), (1, 4, 4), ["padding_mode", "'0'"]),
        (nn.Sequential(nn.Linear(4, 4)), (3, 4), ["Linear", "flatten it first"]),
        (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), (4,), ["running statistics"]),
        (nn.Sequential(nn.AvgPool2d(2, padding=1, count_include_pad=False)), (1, 4, 4), ["count_include_pad"]),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3)), (1, 4, 4), ["does not divide"]),
        (MixesSamples(), (3, 4), ["flatten", "mixes the samples"]),
        (Branches(), (4,), ["Branches", "cannot be traced"]),
        (Multiplies(), (4,), ["mul", "sum of equal shapes"]),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), (1, 4, 4), ["logits [B, K]"]),
        (nn.Sequential(nn.Linear(4, 2)), (5,), ["does not take inputs of shape (5,)"]),
    ],
)
def test_what_cannot_be_bounded_is_named_with_its_place(
    network: nn.Module, shape: tuple[int, ...], parts: list[str]
) -> None:
    with pytest.raises(UnsupportedOperationError) as error:
        trace(network, shape)
    assert all(part in str(error.value) for part in parts), error.value


def test_split_gives_two_graphs() -> None:
    network = Functional().eval()
    graph, tensors, x = trace(network, (1, 4, 4)), network.state_dict(), torch.rand(3, 1, 4, 4)
    for name in ("conv", "add", "view"):
        first, second = graph.split(name)
        torch.testing.assert_close(second(tensors, first(tensors, x)), graph(tensors, x))
        box = Box.around(x, 0.1)
        latent = first.intervals(tensors, box)[first.output]
        whole = graph.intervals(tensors, box)[graph.output]
        torch.testing.assert_close(second.intervals(tensors, latent)[second.output], whole)


def test_split_refuses_where_a_connection_passes_by() -> None:
    graph = trace(Functional(), (1, 4, 4))
    for name in ("again", "fc", "nowhere"):
        with pytest.raises(ConfigurationError, match=f"'{name}'"):
            graph.split(name)


class ByKeyword(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(input=x)


def test_messages_are_one_sentence_for_users() -> None:
    for network in (ByKeyword(), nn.Sequential(nn.Linear(4, 2), nn.GELU()), nn.Linear(5, 2)):
        with pytest.raises(UnsupportedOperationError) as error:
            trace(network, (4,))
        assert "\n" not in str(error.value)


def test_a_single_layer_is_a_network() -> None:
    network, x = nn.Linear(4, 2), torch.rand(3, 4)
    torch.testing.assert_close(trace(network, (4,))(network.state_dict(), x), network(x))


class NamedInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input, self.act, self.output = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.act(self.input(x)))


def test_a_layer_may_be_called_input() -> None:
    network, x = NamedInput(), torch.rand(50, 4)
    graph, box = trace(network, (4,)), Box.around(torch.rand(1, 4), 0.3)
    lower = DeepPoly()(graph, network.state_dict(), box, torch.eye(3)[None])
    assert (network(torch.lerp(box.lower, box.upper, x)) >= lower - 1e-5).all()


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.fc.register_forward_hook(lambda module, inputs, output: 2 * output)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class AlwaysDrops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5)


def test_a_network_that_does_more_than_its_operations_is_refused() -> None:
    for network in (Scaled(), AlwaysDrops()):
        with pytest.raises(UnsupportedOperationError, match="something else than its traced operations"):
            trace(network, (4,))


def test_functional_dropout_is_seen() -> None:
    assert trace(Functional(), (1, 4, 4)).dropout == 0.5
    assert trace(nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 2)), (4,)).dropout == 0.2


@pytest.mark.parametrize("name", ["conv", "act", "add"])
def test_the_first_part_of_a_split_is_bounded_by_every_relaxation(name: str) -> None:
    network = Functional().eval()
    graph, tensors = trace(network, (1, 4, 4)), network.state_dict()
    first, _ = graph.split(name)
    box = Box.around(torch.rand(1, 1, 4, 4), 0.1)
    size = first.num_outputs
    for relaxation in (IBP(), CROWNIBP(), DeepPoly()):
        lower = relaxation(first, tensors, box, torch.eye(size)[None])
        for _ in range(50):
            x = torch.lerp(*box, torch.rand(1, 1, 4, 4))
            assert (first(tensors, x).flatten(1) >= lower - 1e-5).all()
