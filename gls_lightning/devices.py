"""Questions to a device about its memory, and tensors on the way to it."""

import torch
from torch import Tensor


def memory_of(device: torch.device) -> int | None:
    """Returns the bytes of memory that a GPU has, used or not; None for any other device, or where there is no GPU."""
    if device.type != "cuda" or not torch.cuda.is_available():  # tensors without data may name a GPU anywhere
        return None
    total: int = torch.cuda.get_device_properties(device).total_memory
    return total


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copies a tensor from the CPU to a device, and does not wait until it is there.

    Work that the device gets afterwards sees it whole. On a GPU a copy from pageable memory would wait for all that the
    device has to do before.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
