"""The cascade of ``gls certify``."""

from collections.abc import Sequence
from copy import copy

from gls_lightning.certification.branch_and_bound import BranchAndBound
from gls_lightning.certification.certifier import Certifier
from gls_lightning.certification.stages import NaturalStage
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly


def complete_certifier(*, time_limit: float = 100.0) -> Certifier:
    """PGD, IBP, CROWN-IBP, DeepPoly, alpha-CROWN, and branch and bound, which decides any ReLU network in the end.

    Args:
        time_limit: Seconds for each sample that reaches branch and bound.
    """
    relaxations = [IBP(), CROWNIBP(), DeepPoly(skip_ibp_stable=True), AlphaCROWN()]
    return Certifier(relaxations=relaxations, branch_and_bound=BranchAndBound(time_limit=time_limit))


def select_stages(certifier: Certifier, names: Sequence[str]) -> Certifier:
    """A certifier with only some of the stages, in their order; samples that are misclassified are always set aside.

    Raises:
        ConfigurationError: There is no stage of one of these names.
    """
    available = [stage.name for stage in certifier.stages]
    if unknown := [name for name in names if name not in available]:
        raise ConfigurationError(f"stages contains {', '.join(unknown)}; the certifier has {', '.join(available)}")
    selected = copy(certifier)
    selected.stages = [stage for stage in certifier.stages if stage.name in {NaturalStage.name, *names}]
    return selected
