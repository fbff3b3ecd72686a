"""``gls verify``: the answer to a VNN-LIB property."""

from pathlib import Path

from gls_lightning.arguments import require_writable_directory
from gls_lightning.command_line.parser import CommandParser
from gls_lightning.commands import description
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import write_whole


def verify(words: list[str]) -> None:
    """Decides a VNN-LIB property of an ONNX network: unsat, sat with a counterexample, timeout, unknown.

    Args:
        words: The words behind the command.

    Raises:
        ConfigurationError: A file cannot be read, a package is missing, or an operation is not supported.
    """
    parser = CommandParser(prog="gls verify", description=description("verify"))
    parser.add_argument("network", type=Path, help="The network, an ONNX file.")
    parser.add_argument("property", type=Path, help="The property, a VNN-LIB file.")
    parser.add_argument("--time_limit", type=float, default=100.0, help="Seconds.")
    parser.add_argument("--output", type=Path | None, default=None, help="Write the result into this file, too.")
    options = parser.parse_args(words)
    if options.output is not None and not options.output.absolute().parent.is_dir():
        raise ConfigurationError(f"output is {options.output}; there is no directory {options.output.parent}")
    if options.output is not None:
        require_writable_directory(options.output.parent, "the folder of output")
    result = _verify(options.network, options.property, options.time_limit)
    if options.output is not None:
        write_whole(options.output, lambda path: path.write_text(result + "\n"))
    print(result, flush=True)


def _verify(network: Path, prop: Path, time_limit: float) -> str:
    from gls_lightning.interchange.onnx_network import OnnxNetwork  # takes seconds, which --help need not wait for
    from gls_lightning.interchange.verifier import Verifier
    from gls_lightning.interchange.vnnlib_property import read_property

    return str(Verifier(OnnxNetwork(network), time_limit=time_limit).verify(read_property(prop)))
