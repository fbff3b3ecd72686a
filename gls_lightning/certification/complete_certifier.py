"""The certifier of ``gls certify``."""

from collections.abc import Sequence
from copy import copy

from gls_lightning.certification.branch_and_bound import BranchAndBound
from gls_lightning.certification.certifier import Certifier
from gls_lightning.certification.stages import NaturalStage
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly


def complete_certifier(*, time_limit: float = 100.0) -> Certifier:
    """Makes a certifier of PGD, IBP, CROWN-IBP, DeepPoly, alpha-CROWN and branch and bound.

    Branch and bound decides every sample of a ReLU network, given enough time.

    Args:
        time_limit: Seconds for each sample that reaches branch and bound.

    Example:
        >>> [stage.name for stage in complete_certifier(time_limit=10).stages]
        ['natural', 'PGD', 'IBP', 'CROWNIBP', 'DeepPoly', 'AlphaCROWN', 'BranchAndBound']
    """
    relaxations = [IBP(), CROWNIBP(), DeepPoly(skip_ibp_stable=True), AlphaCROWN()]
    return Certifier(relaxations=relaxations, branch_and_bound=BranchAndBound(time_limit=time_limit))


def select_stages(certifier: Certifier, names: Sequence[str]) -> Certifier:
    """Makes a certifier of only some stages, in their old order; misclassified samples are always set aside.

    Raises:
        ConfigurationError: The certifier has no stage of one of these names.
    """
    available = [stage.name for stage in certifier.stages]
    if unknown := [name for name in names if name not in available]:
        raise ConfigurationError(f"stages contains {', '.join(unknown)}; the certifier has {', '.join(available)}")
    selected = copy(certifier)
    selected.stages = [stage for stage in certifier.stages if stage.name in {NaturalStage.name, *names}]
    return selected
