"""Jobs in processes of their own, on this machine or by SLURM, through submitit.

A package, not a part of a command: every command that runs many things at once uses it, and it knows none of them.
Importing it imports no PyTorch.
"""

from gls_lightning.executors.command_line import FailedCommandError, resolve, run_gls
from gls_lightning.executors.devices import visible_gpus
from gls_lightning.executors.execution import Execution, RunningJobs, run_jobs
from gls_lightning.executors.job import Job, log_file
from gls_lightning.executors.lock import exclusive

__all__ = [
    "Execution",
    "FailedCommandError",
    "Job",
    "RunningJobs",
    "exclusive",
    "log_file",
    "resolve",
    "run_gls",
    "run_jobs",
    "visible_gpus",
]
