"""Allocation of memory by the C library."""

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = {_M_TRIM_THRESHOLD: -1, _M_MMAP_THRESHOLD: 2**25}  # -1: never


def keep_freed_memory() -> None:
    """Lets this process keep the memory of freed tensors of up to 32 MiB for its next ones.

    By default glibc returns tensors of some MiB to the system and gets them back page by page, which takes a quarter of
    the time of a linear bound on a CPU (measured: see benchmarks/). Does nothing under another C library, or if the
    environment sets ``MALLOC_TRIM_THRESHOLD_`` or ``MALLOC_MMAP_THRESHOLD_``.
    """
    chosen = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys()
    if platform.libc_ver()[0] != "glibc" or chosen:
        return
    libc = ctypes.CDLL(None)
    for parameter, value in _LARGEST.items():
        libc.mallopt(parameter, value)
