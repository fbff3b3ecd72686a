"""GPUs and CPU threads, and how jobs share them; without PyTorch."""

import os
import shutil
import subprocess

CUDA, THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"


def visible_gpus() -> list[str]:
    """Lists the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if (chosen := os.environ.get(CUDA)) is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listed.stdout.splitlines()))]


def share_of_machine(slot: int, slots: int, gpus: list[str]) -> dict[str, str | None]:
    """Returns the variables that give a job its part of this machine.

    Args:
        slot: Number of the job among those that run at once.
        slots: How many run at once.
        gpus: The GPUs, which take the jobs in turn.
    """
    threads = os.environ.get(THREADS) or str(max(1, len(os.sched_getaffinity(0)) // slots))
    return {THREADS: threads, CUDA: gpus[slot % len(gpus)] if gpus else os.environ.get(CUDA)}
