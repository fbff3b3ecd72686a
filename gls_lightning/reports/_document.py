"""Parts of a report, whatever it is written as."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DASH = "—"
"""Stands for what there is not."""
INITIAL = "initialisation"
"""Stands for the name of the checkpoint where there is none."""


@dataclass(frozen=True)
class ReportTable:
    """A table of a report; the first cell of a row names it, and a cell may have several lines.

    Attributes:
        caption: What it shows.
        header: The names of the columns.
        rows: The cells.
        marked: Positions of the rows that are shown in bold.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[int] = ()


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        name: Unique in the report; of small letters, digits and hyphens.
        description: What it shows, for those who cannot see it.
        caption: What stands below it.
        png: The picture.
        svg: The same as an SVG element, if there is one.
    """

    name: str
    description: str
    caption: str
    png: bytes
    svg: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        heading: Its heading.
        notes: What is wrong: damaged, absent though it should be there, not counted.
        text: Paragraphs.
        tables: Tables.
        pictures: Pictures.
        code: The text of a YAML file.
        files: Numbers in files beside the pictures: the text, by the name.
        sections: Parts of this part.
        folded: Whether it is shown only when asked for.
    """

    heading: str
    notes: Sequence[str] = ()
    text: Sequence[str] = ()
    tables: Sequence[ReportTable] = ()
    pictures: Sequence[Picture] = ()
    code: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence["Section"] = ()
    folded: bool = False
