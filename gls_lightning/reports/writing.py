"""Reports as pages of HTML and as Markdown."""

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gls_lightning.reports._document import Picture, Section
from gls_lightning.run_files import write_whole
from gls_lightning.version import __version__

_MARKUP = re.compile(r"[\\`*\[\]<>|~&#$]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that Markdown takes for markup; an underscore only at the edge of a word."""


def write_report(report: Section, page: Path) -> list[Path]:
    """Writes a report.

    Args:
        report: What it says.
        page: The HTML file. The Markdown file gets the same name with ``.md``, and a folder for its pictures and
            numbers.

    Returns:
        The two files.
    """
    markdown, folder = page.with_suffix(".md"), page.with_name(f"{page.stem}_figures")
    sections = list(_all_sections(report))
    figures = {f"{picture.name}.png": picture.png for section in sections for picture in section.pictures}
    figures |= {name: text.encode() for section in sections for name, text in section.files.items()}
    if figures:
        folder.mkdir(exist_ok=True)
    for name, content in figures.items():
        write_whole(folder / name, partial(Path.write_bytes, data=content))
    texts = {page: as_html(report, folder.name), markdown: as_markdown(report, folder.name)}
    for path, text in texts.items():
        write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))
    return list(texts)


def as_html(report: Section, folder: str) -> str:
    """Returns a page that needs no other file.

    Args:
        report: What it says.
        folder: The name of the folder with the files that it names.
    """
    return _render("report.html.j2", {"embedded": _embedded, "data_uri": _data_uri}, report=report, folder=folder)


def as_markdown(report: Section, folder: str) -> str:
    """Returns Markdown as GitHub reads it.

    Args:
        report: What it says.
        folder: The name of the folder with the pictures and the numbers.
    """
    names = {"report": report, "folder": Markup(quote(folder))}
    return _render("report.md.j2", {"fenced": _fenced}, finalize=_escape_markdown, **names)


def _render(template: str, filters: dict[str, Any], *, finalize: Any = None, **names: Any) -> str:
    environment = Environment(
        loader=PackageLoader("gls_lightning", "reports"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(template).render(version=__version__, **names) + "\n"


def _all_sections(section: Section) -> Iterator[Section]:
    yield section
    for part in section.sections:
        yield from _all_sections(part)


def _embedded(picture: Picture) -> Markup:
    """Returns the SVG element, with ids that no other picture of the page has."""
    return Markup(re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{picture.name}-", picture.svg))


def _data_uri(picture: Picture) -> str:
    return f"data:image/png;base64,{b64encode(picture.png).decode()}"


def _escape_markdown(value: Any) -> Markup:
    if isinstance(value, Markup):
        return value
    return Markup(_MARKUP.sub(r"\\\g<0>", str(value)).replace("\n", "<br>"))


def _fenced(text: str) -> Markup:
    """Returns a block of code, with a fence that does not occur in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markup(f"{fence}yaml\n{text.rstrip()}\n{fence}")
