"""Limits of a spec, and fields that contradict each other or the graph; sound specs load."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from spec_mutations import sealed, split_spec

from cnntk.runtime.artifact import validation
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.artifact.validation import MAX_CASES, MAX_LAYERS, check_interface, parse_document
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactCorrupt, CnntkError
from cnntk.shipped import shipped_model

PREFIX, SPEC = split_spec(shipped_model().read_bytes())
TEST, INPUT = SPEC["self_test"], SPEC["inputs"][0]
CASE, LAYER = TEST["cases"][0], SPEC["layers"][0]
DATA = {"file": "w.data", "size_bytes": 1, "sha256": "0" * 64}


def case(**changes: Any) -> dict[str, Any]:
    return {"self_test": {**TEST, "cases": [{**CASE, **changes}]}}


def pixels(**changes: Any) -> dict[str, Any]:
    return {"preprocessing": {**SPEC["preprocessing"], **changes}}


def results(**changes: Any) -> dict[str, Any]:
    return {"check_results": {**SPEC["check_results"], **changes}}


def fit(**changes: Any) -> dict[str, Any]:
    sound = {"temperature": 1.5, "data": "digits", "images": 9, "ece_before": 0.1, "ece_after": 0}
    return {"provenance": {"calibration": {**sound, **changes}}}


def load(changes: dict[str, Any], prefix: bytes = PREFIX) -> Engine:
    text = json.dumps({**SPEC, **changes, "digest": "0" * 64})
    return Engine(sealed(prefix, text.encode()), threads=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": SPEC["labels"][:3]}, "spec.labels has 3 labels, but the graph has 10 classes"),
        ({"labels": [*SPEC["labels"][:-1], None]}, r"spec.labels\[9\] is None, not str"),
        ({"inputs": []}, "spec.inputs is empty"),
        ({"inputs": [INPUT, INPUT]}, "spec.inputs is empty, or has a name twice"),
        ({"inputs": [{**INPUT, "name": "x"}]}, r"spec.inputs are x: .*, but the graph takes image: uint8"),
        ({"inputs": [{**INPUT, "dtype": "string"}]}, "dtype is 'string', not a type of tensors"),
        ({"inputs": [{**INPUT, "dtype": "float8"}]}, "dtype is 'float8', not a type of tensors"),
        ({"inputs": [{**INPUT, "shape": ["N", "H", "W", 0]}]}, "expected sizes from 1"),
        (pixels(width=10**9), "Preprocessing.width = 1000000000 is not valid"),
        (pixels(crop_ratio=1e-9), "Preprocessing.crop_ratio = 1e-09 is not valid"),
        (pixels(std=[1e-300]), "Preprocessing.std = .* is not valid"),
        (pixels(color="rgb", mean=[0.0] * 3, std=[1.0] * 3), "spec.preprocessing makes"),
        ({"layers": [LAYER] * (MAX_LAYERS + 1)}, "spec has 20,001 layers, over the limit of 20,000"),
        ({"layers": [{**LAYER, "parameters": -1}]}, r"spec.layers\[0\] has a negative number"),
        (results(checks=[{"name": "x"}]), r"spec.check_results.checks\[0\].detail is missing"),
        (results(parity={"bound": 1}), "spec.check_results.parity is {'bound': 1}, not a list"),
        (results(graph_lint={"warnings": [1]}), r"graph_lint.warnings\[0\] is 1, not str"),
        ({"quantization": {"speed": {"ratio": 0, "low": 1, "high": 1, "machine": ""}}}, "not above 0"),
        ({"quantization": {"config": {"layers": {"0": {}}}}}, "config.layers.0.precision is missing"),
        ({"provenance": {"outputs": {"logits": ["a"]}}}, "spec.provenance.outputs.logits is"),
        (
            fit(temperature=0),
            "spec.provenance.calibration has a temperature or a number of images not above 0",
        ),
        (fit(temperature=-1.5), "spec.provenance.calibration has a temperature"),
        (fit(images=0), "calibration has a temperature or a number of images not above 0"),
        (fit(ece_after="low"), "spec.provenance.calibration.ece_after is 'low', not float"),
        (
            {"provenance": {"calibration": {"temperature": 2.0}}},
            "spec.provenance.calibration.data is missing",
        ),
        ({"self_test": {**TEST, "cases": []}}, "spec.self_test.cases has no case"),
        ({"self_test": {**TEST, "cases": [CASE] * (MAX_CASES + 1)}}, "or over 64"),
        ({"self_test": {**TEST, "strides": {"logits": 0}}}, "strides has no number from 1 for .*'logits'"),
        (case(expected={}), "needs expected values and a bound for each output"),
        (case(expected={"x": "1"}, bounds={"x": 1.0}), "no number from 1 for the output 'x'"),
        (case(expected={**CASE["expected"], "logits": "nan"}), r"expects 'nan' \+- .* of 'logits'"),
        (case(sizes={"N": 1, "H": 10**6, "W": 10**6}), "lacks the size of 'C'|over the limit"),
        (case(sizes={**CASE["sizes"], "H": 10**9}), "makes inputs of 28,000,000,000 values, over the limit"),
        (case(sizes={**CASE["sizes"], "N": 0}), "expected sizes from 1"),
        (case(seed=-1), "seed is -1, not of 32 bits"),
        ({"digest": "x", "name": "\0"}, "contains the character NUL"),
        ({"name": "\ud800"}, "surrogates not allowed"),
        ({"provenance": {"x": 10**30}}, r"contains the number 10+, which has no 64 bits"),
        ({"provenance": {"x": float("nan")}}, "contains NaN, which is not JSON"),
        ({"provenance": {"x": float("inf")}}, "contains Infinity, which is not JSON"),
        ({"spec": True}, "spec version True; this cnntk reads version 1"),
        *(
            ({"data": {**DATA, "file": name}}, "spec.data.file is")
            for name in ("", "..", "../x", "/x", "a:b")
        ),
        ({"data": {**DATA, "file": "x" * 300}}, "spec.data.file is"),
        ({"data": {**DATA, "sha256": "0" * 63}}, "no SHA-256 of 64 hex characters"),
    ],
)
def test_what_contradicts_or_exceeds_a_limit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CnntkError, match=message) as error:
        load(changes)
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": []},
        {"labels": ["\x1b[2J", "\u202e", "\n", "=1+1", "\\u0000", *map(str, range(5))]},
        {"layers": []},
        {"self_test": None},
        {"provenance": {"x": [[[[{}]]]], "y": None, "z": -(2**63)}},
        results(later={"x": 1}, parity=[{"output": "x", "onnx_error": None, "bound": 0}]),
        {"quantization": {"accuracy": None, "speed": None, "later": 1}},
        fit(later=1),
    ],
)
def test_sound_specs_load(changes: dict[str, Any]) -> None:
    engine = load(changes)
    assert engine.spec == ModelSpec.from_json(engine.spec.to_json(), "again")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1e999}', "contains the number inf"),
        (b"-1e999", "contains the number -inf"),
        (b'{"a": {"b": 1, "b": 2}}', "has the field 'b' twice"),
        (b"[" * 25 + b"]" * 25, "nested deeper than 24"),
        (b"[" * 100_000, "nested deeper than 24"),
        (b'"\xff"', "can't decode byte"),
        (b"9" * 5000, "Exceeds the limit|has no 64 bits"),
        (b" " * (validation.MAX_BYTES + 1), "over the limit of 16,777,216"),
    ],
)
def test_json_within_limits(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_document(text)


def test_json_up_to_the_limits() -> None:
    assert parse_document(b"[" * 24 + b"]" * 24)
    assert parse_document(b"5") == 5
    assert parse_document(rb'{"a": "\\u0000", "b": 1}') == {"a": r"\u0000", "b": 1}


def test_a_classifier_without_labels_numbers_its_classes(sealed_onnx: Path) -> None:
    assert Classifier(load({"labels": []})).labels == tuple(map(str, range(10)))


def test_a_spec_describes_the_outputs_of_its_graph() -> None:
    engine = load({})
    logits, probabilities = engine.outputs
    check_interface(engine.spec, engine.inputs, engine.outputs)
    check_interface(replace(engine.spec, head="none", self_test=None), engine.inputs, (logits,))
    for outputs, message in (
        ((logits,), "expects the output 'probabilities', which the graph lacks"),
        ((logits, replace(probabilities, shape=("N",))), "the graph returns probabilities: float32 ['N']"),
        ((logits, replace(probabilities, dtype="int64")), "the graph returns probabilities: int64"),
        ((replace(logits, dtype="string"), probabilities), "expects numbers of 'logits': string"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            check_interface(engine.spec, engine.inputs, outputs)


def test_probabilities_of_another_shape_than_declared() -> None:
    """The shape of an output is a claim: this graph returns 10 classes and declares none."""
    classify = Classifier(load({}))
    classify.labels = classify.labels[:3]
    with pytest.raises(CnntkError, match=r"probabilities of shape \[1, 10\], expected \[1, 3\]"):
        classify(b"P5 1 1 255 \0")


def test_a_file_that_is_damaged_is_an_artifact_error() -> None:
    with pytest.raises(ArtifactCorrupt):
        load({"labels": SPEC["labels"][:3]})
