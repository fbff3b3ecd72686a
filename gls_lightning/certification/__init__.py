"""Certification: a proof or a counterexample for each sample, and the records of both."""

from gls_lightning.certification.branch_and_bound import BranchAndBound
from gls_lightning.certification.certifier import Certifier
from gls_lightning.certification.claims import Claims
from gls_lightning.certification.complete_certifier import complete_certifier, select_stages
from gls_lightning.certification.description import describe
from gls_lightning.certification.fingerprint import fingerprint
from gls_lightning.certification.open_samples import OpenSamples
from gls_lightning.certification.point_values import exact_values, highest_values
from gls_lightning.certification.precision import Float32Precision, float32_precision, in_float64, without_tf32
from gls_lightning.certification.record import Record, Verdict, describe_errors, errors_of
from gls_lightning.certification.record_directory import Found, RecordDirectory
from gls_lightning.certification.record_file import RecordFile
from gls_lightning.certification.record_line import as_json
from gls_lightning.certification.stages import AttackStage, Evidence, Problem, RelaxationStage, Stage
from gls_lightning.certification.summary import Summary, summarise
from gls_lightning.certification.system_errors import refused_by_system

__all__ = [
    "AttackStage",
    "BranchAndBound",
    "Certifier",
    "Claims",
    "Evidence",
    "Float32Precision",
    "Found",
    "OpenSamples",
    "Problem",
    "Record",
    "RecordDirectory",
    "RecordFile",
    "RelaxationStage",
    "Stage",
    "Summary",
    "Verdict",
    "as_json",
    "complete_certifier",
    "describe",
    "describe_errors",
    "errors_of",
    "exact_values",
    "fingerprint",
    "float32_precision",
    "highest_values",
    "in_float64",
    "refused_by_system",
    "select_stages",
    "summarise",
    "without_tf32",
]
