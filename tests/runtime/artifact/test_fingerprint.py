import json
import zlib

import numpy as np
import pytest

from cnntk.runtime.artifact.fingerprint import (
    STRUCTURE,
    changed_tensors,
    fingerprint,
    layer_of,
    limit_fingerprints,
)
from cnntk.runtime.artifact.protobuf import ParsedNode
from cnntk.runtime.artifact.spec import Layer

NODES = [ParsedNode("n0", "Conv", ("x", "w", "b")), ParsedNode("", "Gemm", ("y", "v"))]
LAYERS = (Layer("features.0", "Conv", (), 0, 0), Layer("classifier", "Gemm", (), 0, 0))


def test_it_is_the_crc_in_hex() -> None:
    assert fingerprint([b"ab", memoryview(b"c")]) == f"{zlib.crc32(b'abc'):08x}"
    assert len(fingerprint([b""])) == 8


def test_no_change_of_one_weight_is_missed() -> None:
    weights = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    whole = fingerprint([weights.tobytes()])
    for i in range(len(weights)):
        for factor in (1.01, 0.99, -1):
            other = weights.copy()
            other[i] *= np.float32(factor)
            assert fingerprint([other.tobytes()]) != whole


def test_a_few_stand_each_for_itself() -> None:
    few = {STRUCTURE: "00000000", "a.weight": "00000001"}
    assert limit_fingerprints(few) == few


@pytest.mark.parametrize("count", [300, 1000, 20_000])
def test_many_stand_together(count: int) -> None:
    many = {STRUCTURE: "12345678"} | {f"layers.{i}.attention.weight": f"{i:08x}" for i in range(count)}
    limited = limit_fingerprints(many)
    assert len(json.dumps(limited)) < 16_000
    assert limited[STRUCTURE] == "12345678"
    other = limit_fingerprints(many | {"layers.77.attention.weight": "deadbeef"})
    (name,) = changed_tensors(limited, other)
    first, _, last = name.partition(" .. ")
    assert int(first.split(".")[1]) <= 77 <= int(last.split(".")[1])


def test_changes_are_named_in_order() -> None:
    assert changed_tensors({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}) == ("b", "c", "d")
    assert changed_tensors({"a": "1"}, {"a": "1"}) == ()


def test_the_spec_names_the_layer_if_it_matches() -> None:
    assert layer_of("b", NODES, LAYERS) == "features.0"
    assert layer_of("v .. z", NODES, LAYERS) == "classifier"
    assert layer_of("b", NODES, LAYERS[:1]) == "n0"
    assert layer_of("v", NODES, ()) == "Gemm"
    assert layer_of("nowhere", NODES, LAYERS) == ""
