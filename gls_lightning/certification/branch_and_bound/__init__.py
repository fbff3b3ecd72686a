"""Complete verification by branch and bound."""

from gls_lightning.certification.branch_and_bound.falsification import minimise
from gls_lightning.certification.branch_and_bound.question import Answer, Question, largest_functions
from gls_lightning.certification.branch_and_bound.search import BranchAndBound

__all__ = ["Answer", "BranchAndBound", "Question", "largest_functions", "minimise"]
