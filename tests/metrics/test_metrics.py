import copy
import pickle

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import UnsupportedOperationError, trace
from gls_lightning.certification import Certifier, summarise
from gls_lightning.errors import ConfigurationError
from gls_lightning.metrics import AdversarialAccuracy, CertifiedAccuracy
from gls_lightning.relaxations import IBP

EPSILON = 0.05
BOTH = pytest.mark.parametrize("metric_class", [CertifiedAccuracy, AdversarialAccuracy])
PARTS = slice(0, 45), slice(45, 60)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.double)


@pytest.fixture
def network(images: torch.Tensor) -> nn.Module:
    """In float64, so that nothing depends on how samples are batched; in training mode."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(8, 3),
    ).double()
    network(images)  # running statistics
    with torch.no_grad():
        network[-1].bias -= network.eval()(images).mean(0)  # no class prevails
    return network.train()


@pytest.fixture
def labels(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """One of five is wrong."""
    predictions = copy.deepcopy(network).eval()(images).argmax(1)
    return (predictions + (torch.arange(60) % 5 == 0)) % 3


def result(metric, images, labels, batch_size=60, **indices) -> float:
    for batch in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        metric.update(*batch, **indices)
    return metric.compute().item()


def test_certified_accuracy_is_the_summary_of_the_certifier(network, images, labels):
    records = Certifier(use_attack=False).certify(
        trace(network, (1, 4, 4)), dict(network.state_dict()), images, labels, torch.arange(60), EPSILON
    )
    accuracy = result(CertifiedAccuracy(network, epsilon=EPSILON), images, labels)
    assert accuracy == pytest.approx(summarise(records).certified_accuracy)
    assert 0.1 < accuracy < 0.7


def test_adversarial_accuracy_is_the_summary_of_the_certifier(network, images, labels):
    attack = PGD(steps=1, restarts=1, step_size=0.1)  # so weak that its random starts matter
    problem = trace(network, (1, 4, 4)), dict(network.state_dict()), images, labels, torch.arange(60), EPSILON
    seen = set()
    for seed in range(5):
        expected = summarise(Certifier(relaxations=[], attack=attack, seed=seed).certify(*problem))
        metric = AdversarialAccuracy(network, epsilon=EPSILON, attack=attack, seed=seed)
        accuracy = result(metric, images, labels, batch_size=7)
        assert accuracy == pytest.approx(expected.adversarial_accuracy)
        assert accuracy < expected.natural_accuracy == 0.8
        seen.add(accuracy)
    assert len(seen) > 1


@BOTH
def test_a_linear_network_in_closed_form(metric_class):
    torch.manual_seed(0)
    network, images = nn.Linear(5, 2).double(), torch.rand(100, 5).double()
    labels = torch.arange(100) % 2
    row = (network.weight[0] - network.weight[1]).where(labels[:, None] == 0, network.weight[1] - network.weight[0])
    offset = (network.bias[0] - network.bias[1]) * (1 - 2 * labels)
    corner = (images - 0.1 * row.sign()).clamp(0, 1)
    expected = ((corner * row).sum(1) + offset > 0).double().mean().item()
    assert result(metric_class(network, epsilon=0.1), images, labels) == pytest.approx(expected)
    assert 0.1 < expected < 0.9


@BOTH
@pytest.mark.parametrize(("epsilon", "expected"), [(0.25, 1.0), (0.5, 0.0)])
def test_ties_are_errors(metric_class, epsilon, expected):
    network = nn.Linear(1, 2, bias=False)
    network.load_state_dict({"weight": torch.tensor([[1.0], [-1.0]])})  # the logits of 0 are equal
    image, label = torch.tensor([[0.5]]), torch.tensor([0])
    assert result(metric_class(network, epsilon=epsilon), image, label) == expected


@BOTH
def test_values_that_are_no_numbers_are_errors(metric_class):
    network = nn.Linear(3, 2)
    nn.init.constant_(network.bias, torch.nan)
    assert result(metric_class(network, epsilon=0.1), torch.rand(4, 3), torch.zeros(4, dtype=int)) == 0


@BOTH
def test_batch_sizes_do_not_matter(metric_class, network, images, labels):
    settings = {"attack": PGD(steps=1, step_size=0.1)} if metric_class is AdversarialAccuracy else {}
    metric = metric_class(network, epsilon=EPSILON, **settings)
    expected = result(metric, images, labels)
    for batch_size in (1, 7, 59):
        metric.reset()
        assert result(metric, images, labels, batch_size) == expected
        metric.reset()
        for batch in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            metric(*batch)
        assert metric.compute() == expected


def test_repeated_indices_count_every_image(network, images, labels):
    certifier = Certifier(use_attack=True, attack=PGD(steps=1))
    metric = CertifiedAccuracy(network, epsilon=EPSILON, certifier=certifier)
    repeated = result(metric, images, labels, indices=torch.zeros(60, dtype=int))
    assert repeated == result(CertifiedAccuracy(network, epsilon=EPSILON), images, labels)


@BOTH
def test_forward_gives_the_batch_and_accumulates(metric_class, network, images, labels):
    metric = metric_class(network, epsilon=EPSILON)
    parts = [result(metric_class(network, epsilon=EPSILON), images[part], labels[part]) for part in PARTS]
    assert [metric(images[part], labels[part]).item() for part in PARTS] == parts
    assert metric.compute().shape == ()
    assert metric.compute().item() == pytest.approx((45 * parts[0] + 15 * parts[1]) / 60)
    assert parts[0] != parts[1]


@BOTH
def test_two_processes(metric_class, network, images, labels):
    settings = {"attack": PGD(steps=1, step_size=0.1)} if metric_class is AdversarialAccuracy else {}
    metrics = [metric_class(network, epsilon=EPSILON, **settings) for _ in PARTS]
    for metric, part in zip(metrics, PARTS, strict=True):
        metric.update(images[part], labels[part], torch.arange(60)[part])
    expected = result(metric_class(network, epsilon=EPSILON, **settings), images, labels)

    gathered = {id(metrics[0].metric_state[name]): metrics[1].metric_state[name] for name in metrics[0].metric_state}
    with metrics[0].sync_context(
        dist_sync_fn=lambda state, group: [state, gathered[id(state)]], distributed_available=lambda: True
    ):
        assert (metrics[0].robust / metrics[0].total).item() == expected
    assert metrics[0].total == 45

    metrics[0].merge_state(metrics[1])
    assert metrics[0].total == 60
    assert metrics[0].compute().item() == expected


@BOTH
def test_weights_are_read_at_every_update(metric_class, network, images, labels):
    metric = metric_class(network, epsilon=EPSILON)
    before = result(metric, images, labels)
    network[-1].weight.data.neg_()
    metric.reset()
    assert result(metric, images, labels) == result(metric_class(network, epsilon=EPSILON), images, labels) != before


@BOTH
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_nothing_is_left_behind(metric_class, mode, network, images, labels):
    network[1].eval()  # frozen while the rest is trained
    network(images).sum().backward()
    modes = [module.training for module in network.modules()]
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    random_state = torch.get_rng_state()
    metric = metric_class(network, epsilon=EPSILON)
    with mode():
        accuracy = result(metric, images.clone(), labels.clone())
        metric(images.clone(), labels.clone())
        metric.reset()
        metric(images.clone(), labels.clone())
    metric.update(images, labels)

    assert metric.compute().item() == accuracy
    assert not metric.compute().requires_grad
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert accuracy == result(metric_class(copy.deepcopy(network).eval(), epsilon=EPSILON), images, labels)


class GradientSign(Attack):
    """One step by autograd proper, as attacks of other packages do."""

    def __call__(self, logits, lower, upper, labels, starts):
        with torch.enable_grad():
            x = ((lower + upper) / 2).requires_grad_()
            (slope,) = torch.autograd.grad(nn.functional.cross_entropy(logits(x), labels, reduction="sum"), x)
        return torch.where(slope > 0, upper, lower)


def test_attacks_by_autograd_work_in_inference_mode(network, images, labels):
    metric = AdversarialAccuracy(network, epsilon=EPSILON, attack=GradientSign())
    with torch.inference_mode():
        inside = result(metric, images.clone(), labels.clone())
    metric.reset()
    assert inside == result(metric, images, labels) < 0.8


def test_the_precision_is_that_of_the_parameters(network, images, labels):
    """Of neither the images nor autocast: bfloat16 has eight bits."""
    metric = AdversarialAccuracy(network.float(), epsilon=EPSILON)
    precisions = set()
    network[-1].register_forward_hook(lambda module, inputs, logits: precisions.add(logits.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        metric.update(images.double(), labels.int())
    assert precisions == {torch.float32}


@BOTH
def test_the_network_stays_its_owners(metric_class, network, images, labels):
    metric = metric_class(network, epsilon=EPSILON)
    accuracy = result(metric, images, labels)
    assert [*metric.parameters(), *metric.buffers(), *metric.children(), *metric.state_dict()] == []
    metric.persistent(True)
    assert {*metric.state_dict()} == {"robust", "total", "never_equal"}
    metric.to("meta").set_dtype(torch.half).train().requires_grad_(False)
    assert all(p.device.type == "cpu" and p.dtype == torch.double and p.requires_grad for p in network.parameters())

    metric = metric_class(network, epsilon=EPSILON)
    result(metric, images, labels)
    clone = metric.clone()
    assert clone.network is network
    clone.reset()
    assert clone.total == 0
    assert metric.compute() == result(clone, images, labels) == accuracy
    loaded = pickle.loads(pickle.dumps(metric))
    assert loaded.compute() == accuracy
    loaded.reset()
    assert result(loaded, images, labels) == accuracy


@BOTH
def test_a_copied_owner_has_a_metric_of_its_own_network(metric_class, network):
    owner = nn.ModuleDict({"network": network, "metric": metric_class(network, epsilon=EPSILON)})
    for other in (copy.deepcopy(owner), pickle.loads(pickle.dumps(owner))):
        assert other["metric"].network is other["network"] is not network


def test_metrics_in_one_collection_stay_apart(network, images, labels):
    """All agree on the first batch, after which torchmetrics may update one of them for all."""
    metrics = MetricCollection(
        {
            "small": CertifiedAccuracy(network, epsilon=0.001),
            "large": CertifiedAccuracy(network, epsilon=0.2),
            "attacked": AdversarialAccuracy(network, epsilon=0.001),
        }
    )
    wrong = torch.arange(60) % 5 == 0
    metrics.update(images[wrong], labels[wrong])
    assert {value.item() for value in metrics.compute().values()} == {0}
    metrics.update(images[~wrong], labels=labels[~wrong], indices=torch.arange(48))
    accuracies = metrics.compute()
    assert accuracies["large"] < 0.3 < 0.7 < accuracies["small"] <= accuracies["attacked"]

    clone = metrics.clone(prefix="val/")
    metrics.reset()
    assert clone.compute() == {f"val/{name}": value for name, value in accuracies.items()}
    assert clone(images, labels)["val/small"] == accuracies["small"]
    assert clone["val/small"].network is network


class OwnModule(LightningModule):
    """A plain classifier with the metrics of this package."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.certified = CertifiedAccuracy(network, epsilon=EPSILON)
        self.adversarial = AdversarialAccuracy(network, epsilon=EPSILON)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        self.adversarial(images, labels)
        self.log("train/adversarial", self.adversarial, on_step=True, on_epoch=True)
        return nn.functional.cross_entropy(self.network(images), labels)

    def validation_step(self, batch, batch_idx):
        self.certified(*batch)
        self.log("val/certified", self.certified)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_in_a_lightning_module(network, images, labels):
    module = OwnModule(network)
    data = DataLoader(TensorDataset(images, labels), batch_size=25)
    trainer = quiet_trainer(precision="64-true", max_epochs=2)
    trainer.fit(module, data, data)
    expected = result(CertifiedAccuracy(network, epsilon=EPSILON), images, labels)
    assert trainer.callback_metrics["val/certified"].item() == pytest.approx(expected)
    assert 0 < trainer.callback_metrics["train/adversarial_epoch"] < 1
    assert all(name.startswith("network.") for name in module.state_dict())


@BOTH
@pytest.mark.parametrize("epsilon", [-0.1, 1.1, float("nan")])
def test_radii_out_of_range(metric_class, epsilon, network):
    with pytest.raises(ConfigurationError, match=rf"epsilon is {epsilon}; a radius .* lies between 0 and 1"):
        metric_class(network, epsilon=epsilon)


X, Y = torch.full((2, 1, 4, 4), 0.5).double(), torch.tensor([0, 1])


@BOTH
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            (X - 0.7, Y),
            r"the batch, position 0 \(index 0 .*\): the image holds -0.2 at \[0, 0, 0\]; .* lie in \[0, 1\]",
        ),
        ((X + 0.7, Y), r"the image holds 1.2 at"),
        ((X * torch.nan, Y), "the image holds nan"),
        (((X * 255).byte(), Y), "images are of type uint8; .* divide bytes by 255"),
        ((X, Y[:1]), "there are 2 images and 1 labels"),
        ((X, torch.eye(3)[Y]), r"labels are of shape \(2, 3\), as one-hot or soft labels are"),
        ((X, Y.float()), "labels are of type float32"),
        ((X, Y - 1), "the label is -1"),
        ((X, Y + 2), "the label is 3; labels are counted from 0, so those of 3 classes are 0 to 2"),
        ((X, Y, Y[:1]), "2 images and 1 indices"),
        ((X, Y, Y - 1), "position 0: the index in the data set is -1"),
    ],
)
def test_bad_batches(metric_class, batch, message, network):
    metric = metric_class(network, epsilon=EPSILON)
    with pytest.raises(ConfigurationError, match=message):
        metric.update(*batch)
    assert metric.total == 0


@BOTH
def test_empty_batches_count_nothing(metric_class, network):
    metric = metric_class(network, epsilon=EPSILON)
    metric.update(X[:0], Y[:0])
    assert metric.compute().isnan()
    metric.update(X, Y)
    assert metric.total == 2


def test_images_of_another_shape_than_traced(network):
    metric = CertifiedAccuracy(network, epsilon=EPSILON, input_shape=(1, 4, 4))
    with pytest.raises(ConfigurationError, match=r"of shape \(1, 5, 5\); they must be of shape \(1, 4, 4\)"):
        metric.update(torch.rand(2, 1, 5, 5), Y)


def test_networks_that_cannot_be_bounded():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
    with pytest.raises(UnsupportedOperationError, match="Softmax"):
        CertifiedAccuracy(network, epsilon=EPSILON, input_shape=(1, 4, 4))
    assert 0 <= result(AdversarialAccuracy(network, epsilon=0.0), X.float(), Y) <= 1


def test_the_certifier_decides_how(network, images, labels):
    accuracies = [
        result(CertifiedAccuracy(network, epsilon=EPSILON, certifier=certifier), images, labels)
        for certifier in (Certifier(relaxations=[IBP()], use_attack=False), None)
    ]
    assert accuracies[0] < accuracies[1]
