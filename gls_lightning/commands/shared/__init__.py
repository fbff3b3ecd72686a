"""Parts that the commands on a model share: the model, its test images, the progress bar, the report of metrics."""

from gls_lightning.commands.shared.chosen_images import ChosenTestImages
from gls_lightning.commands.shared.evaluated_model import EvaluatedModel
from gls_lightning.commands.shared.progress_bar import progress_bar

__all__ = ["ChosenTestImages", "EvaluatedModel", "progress_bar"]
