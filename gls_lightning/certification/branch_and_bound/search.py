"""Branch and bound over the signs of ReLU inputs."""

from collections.abc import Iterator, Sequence

from gls_lightning.bounds import Graph, Tensors
from gls_lightning.certification.branch_and_bound.question import Answer, Question
from gls_lightning.errors import ConfigurationError


class BranchAndBound:
    """Decides questions about a ReLU network completely, if time allows.

    Args:
        time_limit: Seconds for each question; what is undecided then stays so.
        batch_size: Number of subdomains that are bounded together.

    Raises:
        ConfigurationError: An argument is out of its range.
    """

    def __init__(self, *, time_limit: float = 100.0, batch_size: int = 256) -> None:
        if not time_limit > 0:
            raise ConfigurationError(f"time_limit is {time_limit}; it must be positive")
        if batch_size < 1:
            raise ConfigurationError(f"batch_size is {batch_size}; it must be at least 1")
        self.time_limit = time_limit
        self.batch_size = batch_size

    def search(self, graph: Graph, tensors: Tensors, questions: Sequence[Question]) -> Iterator[Answer]:
        """Answers questions in the order in which they are decided.

        Args:
            graph: The network.
            tensors: Its parameters and buffers, float64.
            questions: The questions, in float64 on the same device.

        Raises:
            ConfigurationError: The network has activations other than ReLU.
        """
        raise NotImplementedError
