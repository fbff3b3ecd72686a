"""The kernels in Triton, where it is installed: run by its interpreter, and compiled for cards that are not here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from gls_lightning.bounds.kernels import _triton_kernels
from gls_lightning.bounds.kernels._triton_forms import BLOCK, BLOCK_BACKWARD, LARGE_TILE, SMALL_TILE


def test_in_the_interpreter() -> None:
    """In a process of its own: Triton reads the setting when it is imported, and keeps to it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    tests = Path(__file__).with_name("interpreted.py")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", str(tests), "-q", "-p", "no:cacheprovider"],
        env=environment | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "only 0-dimensional arrays can be converted" in result.stdout:
        pytest.skip("the interpreter of this version of Triton cannot work with this version of NumPy")
    assert result.returncode == 0, result.stdout + result.stderr


BLOCKS = {
    "relax_forward": [BLOCK],
    "relax_backward": [BLOCK_BACKWARD],
    "absolute_dot_forward": [BLOCK],
    "absolute_dot_backward": [BLOCK_BACKWARD],
    "relaxed_product": [LARGE_TILE, SMALL_TILE],
}


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", BLOCKS)
def test_compiled_without_a_card(
    name: str, capability: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As machine code: with Triton's own assembler, and with as many warps and stages as a launch has."""
    compiler, target = pytest.importorskip("triton.compiler"), pytest.importorskip("triton.backends.compiler")
    if name == "relaxed_product" and dtype == "fp64":
        pytest.skip("products in float64 are plain")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(_triton_kernels, name)
    for block in BLOCKS[name]:
        constants = dict(zip(("block_s", "block_k", "block_l"), block, strict=False)) | {"precision": "tf32"}
        signature = {argument: "i32" for argument in kernel.arg_names}
        signature |= dict.fromkeys(kernel.arg_names[: kernel.arg_names.index("batch")], f"*{dtype}")
        signature |= dict.fromkeys(constants.keys() & signature.keys(), "constexpr")
        values = {(i,): constants[a] for i, a in enumerate(kernel.arg_names) if a in constants}
        source = compiler.ASTSource(fn=kernel, signature=signature, constexprs=values)
        options = {"num_warps": 8 if block == LARGE_TILE else 4}
        compiled = compiler.compile(source, target=target.GPUTarget("cuda", capability, 32), options=options)
        assert len(compiled.asm["cubin"]) > 1000
