import os
import platform
import subprocess
import sys

import pytest

from gls_lightning.allocation import keep_freed_memory

KEPT = """
import os, sys
if sys.argv[1] == "kept":
    from gls_lightning.allocation import keep_freed_memory
    keep_freed_memory()
tensors = [bytearray(2**24) for _ in range(32)]
for _ in range(2):  # glibc may keep what it gets back first
    del tensors[:]
    tensors.extend(bytearray(2**24) for _ in range(32))
del tensors
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
"""


def resident_bytes(mode: str, **environment: str) -> int:
    command = [sys.executable, "-c", KEPT, mode]
    return int(subprocess.run(command, env=os.environ | environment, capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept() -> None:
    assert resident_bytes("kept") > 2**29 > 2**28 > resident_bytes("as usual")
    assert resident_bytes("kept", MALLOC_TRIM_THRESHOLD_="100000") < 2**28


def test_nothing_happens_under_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    keep_freed_memory()
