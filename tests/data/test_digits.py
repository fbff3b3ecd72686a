import torch
from sklearn.datasets import load_digits

from gls_lightning.data import Digits


def test_parts_are_stratified_disjoint_and_complete() -> None:
    data = Digits()
    (train, train_labels), (test, test_labels) = data.load(train=True), data.load(train=False)
    assert (len(train), len(test)) == (1433, 364)
    values, labels = load_digits(return_X_y=True)
    both = torch.cat([train, test]).flatten(1).tolist()
    assert sorted(both) == sorted(values.tolist())
    shares = test_labels.bincount() / torch.from_numpy(labels).bincount()
    assert shares.sub(0.2).abs().max() < 0.01
    assert len(train_labels) == 1433


def test_batches() -> None:
    data = Digits(batch_size=100)
    x, y, index = next(iter(data.test_dataloader()))
    assert x.shape == (100, *data.input_shape)
    assert (x.min(), x.max()) == (0, 1)
    assert index.tolist() == list(range(100))
    assert torch.equal(y, data.load(train=False)[1][:100])
    assert (data.mean, data.std, data.num_classes) == (None, None, 10)
