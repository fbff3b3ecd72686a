"""Data sets as LightningDataModules, whose batches are images in [0, 1], labels and data set indices."""

from gls_lightning.data.augmentation import Augmentation, FlipAndCrop
from gls_lightning.data.cifar10 import CIFAR10
from gls_lightning.data.device_dataset import DeviceDataset
from gls_lightning.data.digits import Digits
from gls_lightning.data.fashion_mnist import FashionMNIST
from gls_lightning.data.image_data_module import ImageDataModule
from gls_lightning.data.image_dataset import ImageBatch, ImageDataset, Images
from gls_lightning.data.mnist import MNIST
from gls_lightning.data.order import EvaluationOrder, TrainingOrder
from gls_lightning.data.resumable_loader import ResumableLoader
from gls_lightning.data.tiny_imagenet import TinyImageNet

__all__ = [
    "CIFAR10",
    "MNIST",
    "Augmentation",
    "DeviceDataset",
    "Digits",
    "EvaluationOrder",
    "FashionMNIST",
    "FlipAndCrop",
    "ImageBatch",
    "ImageDataModule",
    "ImageDataset",
    "Images",
    "ResumableLoader",
    "TinyImageNet",
    "TrainingOrder",
]
