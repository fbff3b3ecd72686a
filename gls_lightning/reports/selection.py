"""The images by which a run was chosen among others, and its best checkpoint among its own."""

from gls_lightning.reports.run_config import FlatConfig, number

_KEY = "data.init_args.validation_size"


def held_out_images(config: FlatConfig) -> int | None:
    """Returns how many training images were held out; None where the data module has no such option."""
    size = number(config, _KEY)
    return None if size is None else int(size)


def selection(config: FlatConfig) -> str:
    """Says on which images validation chooses, and thus what follows it; empty where the data module decides.

    Settings of the paper's rows are the paper's, which were chosen on the test set.
    """
    held_out = held_out_images(config)
    if held_out is None:
        return ""
    if held_out:
        return f"selected on {held_out:,} held-out training images"
    return "selected on the test set, as the paper" if "paper.tables" in config else "selected on the test set"
