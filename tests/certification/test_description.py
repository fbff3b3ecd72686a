import json
from math import inf

import torch

from gls_lightning.attacks import PGD
from gls_lightning.certification import BranchAndBound, Certifier, complete_certifier
from gls_lightning.certification.description import describe
from gls_lightning.relaxations import IBP, AlphaCROWN, DeepPoly


def test_each_stage_of_the_complete_certifier_has_its_own_class_and_options() -> None:
    stages = describe(complete_certifier(time_limit=7.0))["stages"]
    names = ["natural", "PGD", "IBP", "CROWNIBP", "DeepPoly", "AlphaCROWN", "BranchAndBound"]
    assert list(stages) == names
    assert [stage["class"] for stage in stages.values()] == ["NaturalStage", *names[1:]]
    assert stages["PGD"].items() >= {"steps": 40, "restarts": 5, "loss": "margin", "seed": 0}.items()
    assert stages["AlphaCROWN"].items() >= {"steps": 20, "learning_rate": 0.5}.items()
    assert "skip_ibp_stable" not in stages["AlphaCROWN"], "an option of the DeepPoly inside it"
    assert stages["BranchAndBound"] == {
        "class": "BranchAndBound",
        "time_limit": 7.0,
        "batch_size": 256,
        "steps": 10,
        "learning_rate": 0.1,
        "candidates": 8,
        "memory_budget": 4.0,
    }


def test_two_stages_of_one_class() -> None:
    relaxations = [DeepPoly(lower_slope="zero"), IBP(), DeepPoly()]
    stages = describe(Certifier(relaxations=relaxations, use_attack=False))["stages"]
    assert list(stages) == ["natural", "DeepPoly", "IBP", "DeepPoly 2"]
    assert [stages[name]["lower_slope"] for name in ("DeepPoly", "DeepPoly 2")] == ["zero", "adaptive"]


def test_components_within_components_stay_apart_and_json_can_hold_everything() -> None:
    class Nested(IBP):
        def __init__(self) -> None:
            super().__init__()
            self.inner = AlphaCROWN(steps=3)
            self.radii = (0.1, inf)
            self.unknown = torch.zeros(2)
            self._cache = object()

    certifier = Certifier(relaxations=[Nested()], attack=PGD(steps=3), branch_and_bound=BranchAndBound())
    stage = json.loads(json.dumps(describe(certifier), allow_nan=False))["stages"]["Nested"]
    assert (stage["class"], stage["inner"]["class"], stage["inner"]["steps"]) == ("Nested", "AlphaCROWN", 3)
    assert (stage["radii"], stage["unknown"]) == ([0.1, "inf"], {"class": "Tensor"})
    assert "_cache" not in stage
