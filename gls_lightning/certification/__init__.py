"""Certification: what is proved about each sample, and what is refuted."""

from gls_lightning.certification.branch_and_bound import BranchAndBound
from gls_lightning.certification.certifier import Certifier
from gls_lightning.certification.complete_certifier import complete_certifier
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.certification.stages import AttackStage, Evidence, Problem, RelaxationStage, Stage
from gls_lightning.certification.summary import Summary, summarise

__all__ = [
    "AttackStage",
    "BranchAndBound",
    "Certifier",
    "Evidence",
    "Problem",
    "Record",
    "RelaxationStage",
    "Stage",
    "Summary",
    "Verdict",
    "complete_certifier",
    "summarise",
]
