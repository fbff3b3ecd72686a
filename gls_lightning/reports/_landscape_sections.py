"""Sections about the loss landscapes that a run left behind."""

from pathlib import Path

from gls_lightning.reports._document import Picture, Section
from gls_lightning.run_files import DAMAGE, PICTURES, LandscapeDescription, epoch_landscapes, picture_file


def landscape_sections(run: Path, name: str) -> list[Section]:
    """Returns the landscapes of ``gls landscape``, and the newest of training.

    Args:
        run: The directory of the run.
        name: Begins the names of the pictures.
    """
    landscape, epochs = run / LandscapeDescription.DIRECTORY, epoch_landscapes(run)
    folders = {"Loss landscape": landscape}
    folders |= {f"Loss landscape of {path.name}": path for path in sorted(landscape.glob("*")) if path.is_dir()}
    folders = {heading: path for heading, path in folders.items() if path not in epochs.values()}
    if epochs:
        folders[f"Loss landscape during training, epoch {max(epochs)}"] = epochs[max(epochs)]
    return [
        section
        for number, (heading, folder) in enumerate(folders.items())
        if (section := _landscape(folder, heading, f"{name}-landscape-{number}"))
    ]


def _landscape(folder: Path, heading: str, name: str) -> Section | None:
    """Returns the pictures of a folder; None if there are none."""
    files = {kind: folder / picture_file(kind) for kind in PICTURES}
    found = {kind: file.read_bytes() for kind, file in files.items() if file.is_file()}
    if not found:
        return None
    notes, title, text = list[str](), "loss landscape", list[str]()
    try:
        description = LandscapeDescription.read(folder / LandscapeDescription.FILE)
        title, text = description.title, _about(description)
    except DAMAGE as error:
        file = LandscapeDescription.FILE
        notes.append(f"{file} does not say what these pictures are of: {type(error).__name__}, {error}")
    pictures = [Picture(f"{name}-{kind}", f"{title}: {kind}", kind, png) for kind, png in found.items()]
    return Section(heading, notes, [title, *text], pictures=pictures)


def _about(description: LandscapeDescription) -> list[str]:
    """Says what the title does not say."""
    known = {key: value for key in ("noise", "checkpoint") if (value := description.about.get(key)) is not None}
    return [f"axes: {'; '.join(description.axes)}", *(f"{key}: {value}" for key, value in known.items())]
