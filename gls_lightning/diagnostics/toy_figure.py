"""Toy functions as pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gls_lightning.diagnostics.toy_functions import PiecewiseLinear
from gls_lightning.figure_style import line_style, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def toy_figure(
    function: PiecewiseLinear,
    sigmas: Sequence[float] = (0.25, 0.5, 1.0),
    span: tuple[float, float] = (-2.0, 2.0),
    title: str = "",
) -> "Figure":
    """Draws a function of one weight and its smoothed versions (paper, Fig. 3).

    Args:
        function: The function.
        sigmas: Standard deviations of the smoothing, a line for each.
        span: The first and the last weight.
        title: Title of the picture.
    """
    figure = new_figure()
    axes = figure.subplots()
    w = torch.linspace(*span, 801, dtype=torch.double)
    axes.plot(w, function(w), label="original", color="black")
    for index, sigma in enumerate(sigmas):
        axes.plot(w, function.smoothed(w, sigma), label=f"sigma {sigma:g}", **line_style(index))
    axes.set(xlabel="w", ylabel="loss", title=title)
    axes.legend(frameon=False)
    tidy(axes)
    return figure
