"""Stand-ins for SLURM's commands."""

import os
import stat
from pathlib import Path

import pytest

_COMMANDS = {
    # Starts the script as SLURM does: detached, with its number in the environment.
    "sbatch": """
number=$$
cp "$1" "$SLURM_FOLDER/$number.sh"
SLURM_JOB_ID=$number SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 \
    setsid bash "$1" >/dev/null 2>&1 &
echo $! >"$SLURM_FOLDER/$number.pid"
echo "Submitted batch job $number"
""",
    "srun": """
while [[ $1 == -* ]]; do [[ $1 == --output ]] && { output=${2//%j/$SLURM_JOB_ID}; shift; }; shift; done
exec "$@" >>"${output//%t/0}" 2>&1
""",
    "sacct": """
echo "JobID|State|NodeList"
for file in "$SLURM_FOLDER"/*.pid; do
    kill -0 "$(cat "$file")" 2>/dev/null && state=RUNNING || state=FAILED
    echo "$(basename "$file" .pid)|$state|here"
done
""",
    "scancel": """kill -- "-$(cat "$SLURM_FOLDER/$1.pid")" """,
}


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts them on the path; returns the folder where they note what was submitted, below the given one."""
    submitted, commands = folder / "slurm", folder / "bin"
    submitted.mkdir()
    commands.mkdir()
    for name, body in _COMMANDS.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}")
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_FOLDER", str(submitted))
    return submitted
