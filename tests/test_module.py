"""CertifiedTrainingModule against closed forms: for a linear network bounds and attacks are exact."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from common.trainers import quiet_trainer
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import gls_lightning
from gls_lightning import CertifiedTrainingModule
from gls_lightning.bounds import Box, Graph
from gls_lightning.callbacks import BatchNormReset, EpsilonAnnealing
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop, Estimate, GradientEstimator, Step
from gls_lightning.objectives import Batch, Certified, Objective, Standard
from gls_lightning.relaxations import IBP, Relaxation

EPSILON = 0.05


def sgd(params: Any) -> torch.optim.SGD:
    return torch.optim.SGD(params, lr=0.1)


def linear(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 3))


def images(size: int = 40) -> tuple[Tensor, Tensor]:
    """Away from 0 and 1, so that no box is clipped."""
    generator = torch.Generator().manual_seed(1)
    return 0.2 + 0.6 * torch.rand(size, 1, 2, 3, generator=generator), torch.arange(size) % 3


def loader(batch_size: int = 40, **kwargs: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*images(), *kwargs.pop("more", ())), batch_size, **kwargs)


def module(**options: Any) -> CertifiedTrainingModule:
    defaults = {"network": linear(), "epsilon": EPSILON, "relaxation": IBP(), "estimator": Backprop(), "optimizer": sgd}
    return CertifiedTrainingModule(**{**defaults, **options})


def trainer(**options: Any) -> Trainer:
    return quiet_trainer(**{"max_epochs": 1, **options})


def worst_margins(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Smallest logit differences of a linear network over the ball: w x + b - epsilon ||w||_1."""
    (layer,) = (m for m in network.modules() if isinstance(m, nn.Linear))
    others = torch.stack([torch.tensor([i for i in range(3) if i != label]) for label in y.tolist()])
    rows = layer.weight[y][:, None] - layer.weight[others]
    offsets = layer.bias[y][:, None] - layer.bias[others]
    return (rows * x.flatten(1)[:, None]).sum(2) + offsets - EPSILON * rows.abs().sum(2)


def exact_accuracies(network: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    natural = (network(x).argmax(1) == y).float().mean().item()
    return natural, (worst_margins(network, x, y) > 0).all(1).float().mean().item()


def test_step_is_that_of_the_robust_cross_entropy() -> None:
    network, (x, y) = linear(), images()
    F.cross_entropy(F.pad(-worst_margins(network, x, y), (1, 0)), torch.zeros_like(y)).backward()
    expected = {name: p.detach() - 0.1 * p.grad for name, p in network.named_parameters() if p.grad is not None}

    trained = module()
    trainer().fit(trained, loader())

    torch.testing.assert_close(dict(trained.network.named_parameters()), expected)


class Optimising(IBP):
    """Uses autograd, as relaxations with slopes to optimise do."""

    def __call__(self, graph: Graph, tensors: Mapping[str, Tensor], box: Box, specification: Tensor) -> Tensor:
        with torch.enable_grad():
            x = box.lower.clone().requires_grad_()
            (slope,) = torch.autograd.grad(graph(tensors, x).sum(), x)
        assert slope.abs().sum() > 0
        return super().__call__(graph, tensors, box, specification)


@pytest.mark.parametrize("inference_mode", [False, True])
def test_accuracies_of_validation_and_test(inference_mode: bool) -> None:
    untrained = module(relaxation=Optimising())
    with torch.no_grad():
        untrained.network[1].weight.mul_(10)
    natural, certified = exact_accuracies(untrained.network, *images())
    assert 0 < certified < natural
    runner = trainer(inference_mode=inference_mode)
    for evaluate, prefix in ((runner.validate, "val"), (runner.test, "test")):
        (metrics,) = evaluate(untrained, loader(batch_size=16), verbose=False)
        assert metrics[f"{prefix}/natural_accuracy"] == pytest.approx(natural)
        assert metrics[f"{prefix}/certified_accuracy"] == pytest.approx(certified)
        # The attack finds the worst corner of a linear network, so nothing lies between proof and counterexample.
        assert metrics[f"{prefix}/adversarial_accuracy"] == pytest.approx(certified)


def test_inference_mode_leaves_a_module_that_trains() -> None:
    """``Trainer``'s own default is on: validation before, during and after training, as in a notebook."""
    trained, runner = module(), trainer(inference_mode=True)
    data = loader(batch_size=16)
    for number in range(2):
        (metrics,) = runner.validate(trained, data, verbose=False)
        natural, _ = exact_accuracies(trained.network, *images())
        assert metrics["val/natural_accuracy"] == pytest.approx(natural), number
        if not number:
            runner.fit(trained, data, data)


def test_validation_uses_the_target_radius_and_training_the_current_one() -> None:
    radii = []

    class Recording(Standard):
        def __call__(
            self, graph: Graph, relaxation: Relaxation, tensors: Mapping[str, Tensor], batch: Batch
        ) -> tuple[Tensor, dict[str, Tensor]]:
            radii.append(batch.epsilon.item())
            return super().__call__(graph, relaxation, tensors, batch)

    trained = module(objective=Recording())
    runner = trainer(num_sanity_val_steps=0, callbacks=[EpsilonAnnealing(start_epoch=1, end_epoch=2)])
    runner.fit(trained, loader(), loader())
    assert radii == [0.0]
    assert runner.callback_metrics["val/certified_accuracy"] == pytest.approx(
        exact_accuracies(trained.network, *images())[1]
    )


def test_sanity_check_leaves_no_trace_in_the_metrics() -> None:
    trained = module()
    runner = trainer(num_sanity_val_steps=1)
    runner.fit(trained, loader(), loader(batch_size=10))
    natural, _ = exact_accuracies(trained.network, *images())
    assert runner.callback_metrics["val/natural_accuracy"] == pytest.approx(natural)


def test_batches_may_carry_indices() -> None:
    with_indices = trainer().validate(module(), loader(more=[torch.arange(40)]), verbose=False)
    assert with_indices == trainer().validate(module(), loader(), verbose=False)


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_normalised_images_are_refused(stage: str) -> None:
    x, y = images()
    normalised = DataLoader(TensorDataset((x - 0.5) / 0.25, y), 40)
    with pytest.raises(ConfigurationError, match=r"batch 0, position 0: the image holds .*; images lie in \[0, 1\]"):
        getattr(trainer(), stage)(module(), normalised)


def test_numbers_of_images_without_indices_do_not_repeat() -> None:
    traced = module(input_shape=(1, 2, 3))
    numbers = []
    for position, batch in enumerate(loader(batch_size=16)):
        with traced.evaluation(batch, position) as (_, _, indices):
            numbers.append(indices)
    assert len(torch.cat(numbers).unique()) == 40


class Unsound(IBP):
    sound = False

    def __call__(self, graph: Graph, tensors: Mapping[str, Tensor], box: Box, specification: Tensor) -> Tensor:
        return super().__call__(graph, tensors, box, specification) + 100


def test_validation_proves_with_a_sound_relaxation() -> None:
    (metrics,) = trainer().validate(module(relaxation=Unsound()), loader(), verbose=False)
    (expected,) = trainer().validate(module(), loader(), verbose=False)
    assert metrics["val/certified_accuracy"] == expected["val/certified_accuracy"] < 1


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_rounded_parameters_are_refused(precision: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"precision is {precision}"):
        trainer(precision=precision).fit(module(), loader())


def test_logs_of_training() -> None:
    trained = module(estimator=None, relaxation=None)
    runner = trainer()
    runner.fit(trained, loader())
    metrics = runner.callback_metrics
    assert {"train/loss", "train/natural_accuracy", "train/certified_accuracy"} <= metrics.keys()
    assert metrics["epsilon"] == pytest.approx(EPSILON)
    assert metrics["sigma"] == pytest.approx(1e-3)
    assert metrics["learning_rate"] == pytest.approx(0.1)


def test_frozen_parameters_stay() -> None:
    trained = module(estimator=None)
    trained.network[1].bias.requires_grad_(False)
    before = {name: p.clone() for name, p in trained.network.named_parameters()}
    trainer().fit(trained, loader())
    assert torch.equal(trained.network[1].bias, before["1.bias"])
    assert not torch.equal(trained.network[1].weight, before["1.weight"])


def test_every_batch_has_a_key_of_its_own_though_gradients_accumulate() -> None:
    keys = []

    class Recording(Backprop):
        def forward(self, objective: Any, params: dict[str, Tensor], key: Step) -> Estimate:
            keys.append(key)
            return super().forward(objective, params, key)

    trainer(max_epochs=2, accumulate_grad_batches=2).fit(module(estimator=Recording(), seed=7), loader(batch_size=10))
    assert keys == [Step(7, batch) for batch in range(8)]


def test_half_precision_leaves_bounds_and_perturbations_alone() -> None:
    exact, half = module(estimator=None), module(estimator=None)
    trainer().fit(exact, loader())
    trainer(precision="bf16-mixed").fit(half, loader())
    torch.testing.assert_close(half.network.state_dict(), exact.network.state_dict(), rtol=0, atol=0)


def test_batch_norm_trains_and_is_validated_with_population_statistics() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    trained = module(network=network, estimator=None)
    assert any(isinstance(callback, BatchNormReset) for callback in trained.configure_callbacks())
    runner = trainer(max_epochs=2)
    runner.fit(trained, loader(batch_size=16), loader())
    x, y = images()
    features = network[1](x.flatten(1))
    torch.testing.assert_close(network[2].running_mean, features.mean(0))
    torch.testing.assert_close(network[2].running_var, features.var(0, correction=0))
    assert network[2].num_batches_tracked == 0
    natural = (network.eval()(x).argmax(1) == y).float().mean()
    torch.testing.assert_close(runner.callback_metrics["val/natural_accuracy"], natural)


def test_gradient_flows_through_the_statistics_of_the_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    x, y = images()
    F.cross_entropy(network.train()(x), y).backward()
    expected = {name: p.detach() - 0.1 * p.grad for name, p in network.named_parameters() if p.grad is not None}
    trained = module(network=network, objective=Standard())
    trainer().fit(trained, loader())
    torch.testing.assert_close(dict(trained.network.named_parameters()), expected)


@pytest.mark.parametrize("epsilon", [-0.1, 1.5, float("nan")])
def test_epsilon_out_of_range(epsilon: float) -> None:
    with pytest.raises(ConfigurationError, match=f"epsilon is {epsilon}"):
        module(epsilon=epsilon)


def test_negative_seed() -> None:
    with pytest.raises(ConfigurationError, match="seed is -1"):
        module(seed=-1)


class NotDifferentiable(IBP):
    differentiable = False


class Evaluating(Backprop):
    needs_differentiable = False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relaxation": NotDifferentiable()}, "NotDifferentiable has no useful gradients, which estimator Backprop"),
        ({"network": nn.Sequential(linear(), nn.Dropout(0.5))}, "dropout with probability 0.5"),
        ({"network": nn.Sequential(linear(), nn.GELU())}, "GELU"),
        ({"network": linear().requires_grad_(False)}, "no trainable parameter"),
        ({"optimizer": lambda params: torch.optim.SGD(params, lr=-1.0)}, r"model\.optimizer: Invalid learning rate"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_training(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        trainer().fit(module(**options), loader())


@pytest.mark.parametrize("options", [{"estimator": Evaluating()}, {"objective": Standard()}])
def test_relaxations_without_gradients_where_none_are_needed(options: dict[str, Any]) -> None:
    trainer(max_steps=1).fit(module(relaxation=NotDifferentiable(), **options), loader())


class Lipschitz(IBP):
    """For a linear layer and an activation with slopes between 0 and 1; knows the parameters, not the graph."""

    needs_graph = False

    def __call__(self, graph: Graph, tensors: Mapping[str, Tensor], box: Box, specification: Tensor) -> Tensor:
        change = specification.abs() @ tensors["1.weight"].abs().sum(1) * box.radius.amax()
        return torch.einsum("bsk,bk->bs", specification, graph(tensors, box.centre)) - change


def test_a_network_that_cannot_be_traced_and_a_relaxation_that_does_not_care() -> None:
    network = nn.Sequential(*linear(), nn.Softsign())
    before = network[1].weight.detach().clone()
    training = trainer()
    training.fit(module(network=network, relaxation=Lipschitz()), loader(), loader())
    assert not torch.equal(network[1].weight, before)
    (x, labels), change = images(), EPSILON * network[1].weight.abs().sum(1)
    logits = network(x)
    worst_others = (logits + change).masked_fill(F.one_hot(labels, 3).bool(), -torch.inf).amax(1)
    proved = (logits - change).gather(1, labels[:, None])[:, 0] > worst_others
    assert 0 < proved.float().mean() < 1
    assert training.callback_metrics["val/certified_accuracy"] == pytest.approx(proved.float().mean().item())
    with pytest.raises(ConfigurationError, match="operation Softsign at '2' of the network cannot be bounded"):
        trainer().fit(module(network=network), loader())


class Images(LightningDataModule):
    input_shape = (1, 2, 3)
    num_classes = 5

    def train_dataloader(self) -> DataLoader[Any]:
        return loader()


def test_number_of_classes() -> None:
    with pytest.raises(ConfigurationError, match="the network has 3 outputs, but the data 5 classes"):
        trainer().fit(module(), datamodule=Images())


class Exploding(Certified):
    """A loss that is NaN from the third batch on, or whose gradient alone is."""

    def __init__(self, poison: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.poison = poison
        self.batches = 0

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().__call__(graph, relaxation, tensors, batch)
        self.batches += 1
        return (self.poison(loss) if self.batches > 2 else loss), metrics


@pytest.mark.parametrize(
    ("poison", "message"),
    [
        (
            lambda loss: loss * float("nan"),
            r"the loss is nan at step 2 \(batch 2, epoch 1, epsilon 0\.05\): .*Exploding with IBP",
        ),
        (lambda loss: loss + (loss.detach() - loss).sqrt(), r"the gradient is not finite at step 2"),
    ],
)
def test_numbers_that_are_not_finite_stop_the_run_and_spare_the_checkpoint(
    poison: Callable[[Tensor], Tensor], message: str, tmp_path: Path
) -> None:
    trained = module(objective=Exploding(poison))
    runner = trainer(max_epochs=3, enable_checkpointing=True, default_root_dir=tmp_path)
    with pytest.raises(ConfigurationError, match=message) as stopped:
        runner.fit(trained, loader(batch_size=20))
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert str(checkpoint) in str(stopped.value)
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["global_step"] == 2
    torch.testing.assert_close(saved["state_dict"], trained.state_dict())
    assert all(torch.isfinite(tensor).all() for tensor in saved["state_dict"].values())


class Tied(nn.Module):
    """One weight in two places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.output = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x.flatten(1)))
        return self.output(F.relu(self.second(hidden)))


def test_tied_parameters() -> None:
    network, (x, y) = Tied(), images()
    F.cross_entropy(network(x), y).backward()
    expected = {name: p.detach() - 0.1 * p.grad for name, p in network.named_parameters() if p.grad is not None}
    trained = module(network=network, objective=Standard())
    trainer().fit(trained, loader())
    torch.testing.assert_close(dict(trained.network.named_parameters()), expected)


class OwnData(LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return loader(batch_size=8)

    val_dataloader = train_dataloader


class Downstream(CertifiedTrainingModule):
    """What a user might write."""

    def __init__(self, *, temperature: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature


def test_downstream_project(tmp_path: Path) -> None:
    trained = Downstream(network=linear(), epsilon=EPSILON, temperature=2.0)
    runner = Trainer(max_epochs=2, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False)
    runner.fit(trained, datamodule=OwnData())
    runner.save_checkpoint(tmp_path / "run.ckpt")

    loaded = gls_lightning.load(tmp_path / "run.ckpt", network=linear(seed=1))

    assert isinstance(loaded, Downstream)
    assert (loaded.temperature, loaded.epsilon) == (2.0, EPSILON)
    torch.testing.assert_close(loaded.state_dict(), trained.state_dict())
    assert gls_lightning.load(tmp_path / "run.ckpt", network=linear(), epsilon=0.3).epsilon == 0.3


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no checkpoint nowhere\.ckpt"):
        gls_lightning.load("nowhere.ckpt")
    runner = trainer(max_steps=1)
    runner.fit(module(), loader())
    runner.save_checkpoint(tmp_path / "run.ckpt")
    given = {"relaxation": IBP(), "estimator": Backprop(), "optimizer": sgd}
    with pytest.raises(ConfigurationError, match=r"network\.1\.weight is \(3, 6\) in the checkpoint and \(4, 6\)"):
        gls_lightning.load(tmp_path / "run.ckpt", network=nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), **given)
    with pytest.raises(ConfigurationError, match="does not hold the module's network, relaxation, given as objects"):
        gls_lightning.load(tmp_path / "run.ckpt", estimator=Backprop(), optimizer=sgd)
    content = torch.load(tmp_path / "run.ckpt", weights_only=True)
    torch.save({**content, "module_class": "nobody.wrote:This"}, tmp_path / "other.ckpt")
    with pytest.raises(ConfigurationError, match=r"import it from nobody\.wrote before loading"):
        gls_lightning.load(tmp_path / "other.ckpt")


def test_reduce_on_plateau_watches_the_loss_of_the_validation() -> None:
    def plateau(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)

    runner = trainer(max_epochs=3)
    runner.fit(module(scheduler=plateau), loader(), loader())
    assert runner.optimizers[0].param_groups[0]["lr"] < 0.1


def test_public_names() -> None:
    assert issubclass(gls_lightning.CertifiedTrainingModule, LightningModule)
    assert gls_lightning.Relaxation is Relaxation
    assert gls_lightning.GradientEstimator is GradientEstimator
    with pytest.raises(AttributeError, match="nothing"):
        _ = gls_lightning.nothing
    assert issubclass(Certified, Objective)


def test_a_copy_shares_what_makes_the_optimizer() -> None:
    """In a process that starts others, the command line's optimizer holds a lock that cannot be copied."""
    factory = partial(torch.optim.SGD, lr=Lock())  # type: ignore[arg-type]
    original = module()
    original.optimizer = factory
    copied = copy.deepcopy(original)
    assert copied.optimizer is factory
    assert copied.network is not original.network
    torch.testing.assert_close(copied.state_dict(), original.state_dict(), rtol=0, atol=0)
    parameters = [{id(p) for p in own.parameters()} for own in (copied, original)]
    assert parameters[0].isdisjoint(parameters[1])
