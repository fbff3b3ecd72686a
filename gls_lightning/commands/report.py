"""``gls report``: runs as a page."""

from pathlib import Path

from gls_lightning.arguments import require_writable_directory
from gls_lightning.command_line.parser import CommandParser
from gls_lightning.commands import description
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import REPORT


def report(words: list[str]) -> None:
    """Reports runs as one page of HTML that needs no other file, and as Markdown.

    Args:
        words: The words behind the command.

    Raises:
        ConfigurationError: There is no such run, or the report cannot lie where it is to be written.
    """
    parser = CommandParser(prog="gls report", description=description("report"))
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="A run's directory or one above; a run's config.yaml; or a configuration, for its runs below runs/.",
    )
    parser.add_argument(
        "--output",
        type=Path | None,
        default=None,
        help="The page, report.html by default: in the run's directory, or here for several. The Markdown file and its "
        "figures lie beside it.",
    )
    parser.add_argument("--title", type=str | None, default=None, help="Heading of the report.")
    options = parser.parse_args(words)
    if options.output is not None:
        _check(options.output)
    from gls_lightning.reports import (  # which --help need not wait for
        command_sections,
        find_runs,
        make_report,
        write_report,
    )

    runs = find_runs(options.runs)
    output = options.output or (runs[0] if len(runs) == 1 else Path()) / REPORT
    for path in write_report(make_report(runs, options.title, command_sections(options.runs)), output):
        print(path, flush=True)


def _check(output: Path) -> None:
    if output.suffix != ".html":
        raise ConfigurationError(f"output is {output}; its name must end in .html")
    if not output.absolute().parent.is_dir():
        raise ConfigurationError(f"output is {output}; there is no directory {output.parent}")
    require_writable_directory(output.parent, "the folder of output")
    markdown = output.with_suffix(".md")
    if markdown.exists() and "gls report, gls_lightning" not in markdown.read_text(errors="replace"):
        raise ConfigurationError(f"output is {output}, but {markdown}, which would be replaced, is no report")
