"""Tightness as a picture."""

from typing import TYPE_CHECKING

from gls_lightning.diagnostics.tightness import Tightness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, without yellow; the dashes serve prints in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


def tightness_figure(tightness: Tightness, *, title: str = "", epsilon: float | None = None) -> "Figure":
    """Draws certified accuracy over the radius, a line for each relaxation.

    Args:
        tightness: The curves.
        title: What they are of.
        epsilon: A radius to mark, for example the one of training.
    """
    from matplotlib.figure import Figure  # takes seconds, which only pictures should wait for

    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for index, (name, area) in enumerate(tightness.auc.items()):
        axes.plot(
            tightness.radii,
            [100 * accuracy for accuracy in tightness.certified_accuracy[name]],
            color=COLOURS[index % len(COLOURS)],
            linestyle=DASHES[index % len(DASHES)],
            label=f"{name} (AUC {area:.3f})",
        )
    if epsilon is not None and tightness.radii[0] <= epsilon <= tightness.radii[-1]:
        axes.axvline(epsilon, color="grey", linewidth=1, linestyle=":", label=f"target epsilon {epsilon:.6g}")
    axes.set(xlabel="radius epsilon (l-infinity)", ylabel="certified accuracy [%]", title=title)
    axes.set(xlim=(tightness.radii[0], tightness.radii[-1]), ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
