import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gls_lightning.networks import CNN3, CNN3Tiny

dense = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "dense_baseline.py")))

NETWORKS = {"CNN3": CNN3, "CNN3-tiny": CNN3Tiny}


@pytest.mark.parametrize("file", ["CNN3_mnist_eps0.1_clip", "CNN3_mnist_eps0.1_free", "CNN3-tiny_mnist_eps0.01_clip"])
def test_equals_the_reference(shared, file):
    reference = np.load(shared / "reference" / "bounds" / f"{file}.npz")
    network = NETWORKS[file.partition("_")[0]]().double()
    parameters = [torch.tensor(reference[key]) for key in reference.files if key.startswith("param/")]
    network.load_state_dict(dict(zip(network.state_dict(), parameters, strict=True)))
    box = dense.Box(torch.tensor(reference["x_lower"]), torch.tensor(reference["x_upper"]))
    specification = torch.tensor(reference["C"])

    with torch.no_grad():
        margins = {
            "IBP": dense.ibp(network, box, specification),
            "CROWN-IBP": dense.crown_ibp(network, box, specification),
            "CROWN": dense.deeppoly(network, box, specification),
        }
        preactivation_bounds = {
            "IBP": dense.relu_bounds_by_intervals(network, box),
            "CROWN": dense.relu_bounds_by_back_substitution(network, box),
        }
    for method, lower in margins.items():
        np.testing.assert_allclose(lower, reference[f"{method}/spec/lower"], rtol=1e-9, atol=1e-9)
    for method, bounds in preactivation_bounds.items():
        for index, (lower, upper) in enumerate(bounds.values()):
            np.testing.assert_allclose(lower, reference[f"{method}/pre{index}/lower"], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(upper, reference[f"{method}/pre{index}/upper"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["ibp", "crown_ibp", "deeppoly"])
def test_gradient_is_that_of_the_bound(method):
    torch.manual_seed(0)
    network = CNN3Tiny(input_shape=(1, 6, 6), num_classes=3, initialization="default").double()
    x, specification = torch.rand(2, 1, 6, 6, dtype=torch.float64), torch.randn(2, 2, 3, dtype=torch.float64)

    def bound(*_):
        return getattr(dense, method)(network, dense.Box(x - 0.1, x + 0.1), specification)

    assert torch.autograd.gradcheck(bound, tuple(network.parameters()))
