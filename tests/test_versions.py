"""The versions that are declared, pinned and tested agree."""

import re
from importlib.metadata import version

import pytest
from lowest_versions import declared_versions, lowest_constraints, project_table
from source_tree import ROOT

from cnntk.runtime.session.devices import OLDEST_ONNXRUNTIME, release_numbers

DECLARED = declared_versions(project_table())
ON_A_GPU = {"onnxruntime-gpu", "cuda-bindings", "nvidia-ml-py"}
PINS = (ROOT / "constraints-runtime.txt").read_text()


def test_the_runtime_accepts_what_is_declared() -> None:
    assert DECLARED["onnxruntime"] == DECLARED["onnxruntime-gpu"]
    assert release_numbers(DECLARED["onnxruntime"]) >= release_numbers(OLDEST_ONNXRUNTIME)


@pytest.mark.parametrize("name", sorted(DECLARED.keys() - ON_A_GPU))
def test_no_test_runs_on_older_versions_than_declared(name: str) -> None:
    assert release_numbers(version(name)) >= release_numbers(DECLARED[name])


def test_pins_of_the_runtime_are_complete_and_have_hashes() -> None:
    entries = re.split(r"\n(?! )", PINS.strip())
    pinned = {entry.partition("==")[0]: entry for entry in entries}
    assert pinned.keys() >= {"numpy", "pillow", "click", "onnxruntime"}
    for name, entry in pinned.items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name
        pin = re.search(r"==([\w.]+)", entry)
        assert pin is not None, entry
        assert release_numbers(pin[1]) >= release_numbers(DECLARED.get(name, "0")), entry
    assert "://" not in PINS


def test_lowest_constraints() -> None:
    lines = lowest_constraints({"torch": "2.9", "numpy": "1.26"}, ["# a comment", "torch==2.13.0"])
    assert lines == ["torch==2.13.0", "numpy==1.26"]
    with pytest.raises(ValueError, match="expected name>=version"):
        declared_versions({"dependencies": ["numpy"], "optional-dependencies": {}})
