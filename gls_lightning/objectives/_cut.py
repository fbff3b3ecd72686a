"""The cut of a network behind one of its ReLUs."""

from gls_lightning.bounds import Graph
from gls_lightning.errors import ConfigurationError


def cut_behind_relu(graph: Graph, classifier_relus: int) -> tuple[Graph, Graph]:
    """Cuts a network behind a ReLU (or another activation) into two parts.

    Args:
        graph: The network.
        classifier_relus: Number of ReLUs in the second part.

    Raises:
        ConfigurationError: The network has too few ReLUs, or another connection bypasses the cut.
    """
    relus = graph.activations
    if classifier_relus >= len(relus):
        raise ConfigurationError(
            f"classifier_relus is {classifier_relus}, but the network has {len(relus)} ReLUs; "
            "it must have at least one more, in front of the cut"
        )
    try:
        return graph.split(relus[-1 - classifier_relus].name)
    except ConfigurationError as error:
        raise ConfigurationError(f"classifier_relus is {classifier_relus}: {error}; choose another cut") from None
