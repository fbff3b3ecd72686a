"""Common style of all pictures."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, without yellow; the dashes serve prints in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


def new_figure(width: float = 6.4, height: float = 4.2) -> "Figure":
    """Makes an empty figure of this size in inches."""
    from matplotlib.figure import Figure  # takes seconds, which only pictures should wait for

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def line_style(index: int) -> dict[str, Any]:
    """Returns colour and dashes of the line with this number, from 0, as keywords of matplotlib's ``plot``."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}


def tidy(axes: Any) -> None:
    """Draws a faint grid, and takes the frame away above and to the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
