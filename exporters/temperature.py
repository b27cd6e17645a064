"""A classifier whose probabilities have another temperature: ``softmax(logits / temperature)``.

One positive number makes confidences agree with accuracies on average and changes no prediction: C. Guo, G.
Pleiss, Y. Sun and K. Weinberger, On calibration of modern neural networks, ICML 2017.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters._head import HEAD_SCOPE, LOGITS, add_temperature
from cnntk.exporters.artifact import append_spec, values_text, write_hashed
from cnntk.exporters.checks._head import check_softmax
from cnntk.exporters.checks.limits import PROBABILITIES, SOFTMAX_ERROR, round_up
from cnntk.exporters.external_data import staged_artifact
from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.spec import METADATA_KEY, Layer, ModelSpec, SelfTest, SelfTestCase
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ParityError, UnsupportedArtifact
from cnntk.runtime.output_values import softmax

__all__ = ["write_with_temperature"]


def write_with_temperature(
    source: str | os.PathLike[str],
    target: Path,
    temperature: float,
    record: Mapping[str, Any],
    check: Callable[[Path], None] = lambda _: None,
) -> ModelSpec:
    """Writes a copy of an artifact with another temperature, whole or not at all.

    Logits stay as they are. The self-test's probabilities are renewed: the softmax, in float64, of the file's
    own logits, within what the bounds of the logits allow.

    Args:
        source: Artifact of a classifier, float or quantized.
        target: File to write.
        temperature: Number above 0 by which logits are divided.
        record: How the temperature was fitted, for ``provenance["calibration"]``.
        check: Function that checks the file before it takes its name, and raises if it is not right.

    Returns:
        The spec in the file.

    Raises:
        UnsupportedArtifact: The file has no self-test, or not the outputs of a classifier.
        ExportCheckError: The head changes the argmax, or overflows.
        ParityError: The file does not compute what its self-test expects.
        UsageError: The file can't be written.
    """
    engine = Engine(source)
    spec = engine.spec
    if spec is None or spec.self_test is None or any(LOGITS not in c.expected for c in spec.self_test.cases):
        raise UnsupportedArtifact(
            f"{engine.name}: has no self-test of its logits; export it with this version of cnntk"
        )
    model = ir.load(source)
    model.metadata_props.pop(METADATA_KEY, None)
    add_temperature(model, temperature)
    head = check_softmax(model, len(spec.labels) or 2)
    with staged_artifact(model, target, required=spec.data is not None) as (temporary, external):
        written = write_hashed(model, temporary, external)
        changed = replace(
            spec,
            layers=_layers(spec.layers),
            provenance={**spec.provenance, "calibration": {"temperature": temperature, **record}},
            check_results=_check_results(spec.check_results, as_json(head)),
            self_test=_self_test(spec, spec.self_test, engine, temperature),
            fingerprints={},
            data=None,
            digest="",
        )
        final = append_spec(temporary, changed, written)
        for each in Engine(temporary).self_test().worst:
            if not each.holds:
                raise ParityError(
                    f"{target}: fails its self-test: {each.output} has an error of {each.error:.3g} in "
                    f"{each.case} (limit {each.bound:.3g}). Nothing was written"
                )
        check(temporary)
    return final


def _layers(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers with one division in front of the last softmax."""
    before = [layer for layer in layers if layer.name != f"{HEAD_SCOPE}div" and layer.output != PROBABILITIES]
    logits = next((layer for layer in layers if layer.output == LOGITS), None)
    if logits is None:
        return layers
    scaled = f"{HEAD_SCOPE}scaled_logits"
    division = replace(
        logits,
        name=f"{HEAD_SCOPE}div",
        op="Div",
        parameters=0,
        multiply_adds=0,
        weights=(),
        inputs=(LOGITS,),
        output=scaled,
    )
    softmaxed = replace(
        division, name=f"{HEAD_SCOPE}softmax", op="Softmax", inputs=(scaled,), output=PROBABILITIES
    )
    return (*before, division, softmaxed)


def _check_results(results: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
    """The results of the export's checks, which hold for the logits, with that of the new head."""
    changed = dict(results)
    if "checks" in changed:
        changed["checks"] = [head if each["name"] == head["name"] else each for each in changed["checks"]]
    if "parity" in changed:
        changed["parity"] = [row for row in changed["parity"] if row["output"] != PROBABILITIES]
    return changed


def _self_test(spec: ModelSpec, test: SelfTest, engine: Engine, temperature: float) -> SelfTest:
    strides = {**test.strides, PROBABILITIES: test.strides.get(PROBABILITIES, test.strides[LOGITS])}
    return SelfTest(tuple(_case(spec, each, strides, engine, temperature) for each in test.cases), strides)


def _case(
    spec: ModelSpec, case: SelfTestCase, strides: Mapping[str, int], engine: Engine, temperature: float
) -> SelfTestCase:
    """A device's logits may be as far from this device's as both bounds allow, together.

    A logit that moves by e moves a probability by at most e / (2 temperature).
    """
    logits = engine.run(canonical_inputs(spec.inputs, case.pattern, case.seed, case.sizes))[LOGITS]
    error = _max_error(logits, case.expected[LOGITS], strides[LOGITS])
    bound = (case.bounds[LOGITS] + error) / (2 * temperature) + SOFTMAX_ERROR
    text = values_text(softmax(logits.astype(np.float64) / temperature), strides[PROBABILITIES])
    return replace(
        case,
        expected={**case.expected, PROBABILITIES: text},
        bounds={**case.bounds, PROBABILITIES: round_up(bound)},
    )


def _max_error(values: NDArray[Any], text: str, stride: int) -> float:
    expected = np.array(text.split(), dtype=np.float64)
    return float(np.abs(values.reshape(-1)[::stride].astype(np.float64) - expected).max(initial=0.0))
