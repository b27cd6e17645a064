from collections.abc import Callable

import numpy as np
import pytest

from cnntk.exporters.checks._independence import check_repeatable, compare_batches
from cnntk.exporters.checks._inputs import CheckInputs, OutputCache
from cnntk.exporters.checks.reference import Outputs
from cnntk.runtime.errors import ExportCheckError


def sums(inputs: dict) -> dict:
    return {"y": inputs["input"].sum((2, 3))}


@pytest.fixture
def expected(inputs: CheckInputs) -> Outputs:
    exact = {k: v.astype(np.float64) for k, v in sums(inputs.arrays).items()}
    bounds = {"y": 1e-5 * np.abs(exact["y"]).max(axis=1) + 1e-6}
    return Outputs(inputs, exact, sums(inputs.arrays), bounds)


def test_a_function_of_each_image_passes(expected: Outputs, candidate_of: Callable) -> None:
    candidate = candidate_of(run=sums, inputs=expected.inputs)
    assert "to the bit" in check_repeatable(candidate).detail
    check = compare_batches(candidate.outputs, expected, lambda: "")
    assert "max difference across batch sizes" in check.detail


def test_state_and_randomness_are_detected(expected: Outputs, candidate_of: Callable) -> None:
    calls = []
    rng = np.random.default_rng(0)

    def counts(inputs: dict) -> dict:
        calls.append(1)
        return {"y": sums(inputs)["y"] + len(calls)}

    def draws(inputs: dict) -> dict:
        return {"y": sums(inputs)["y"] + rng.random()}

    for run in (counts, draws):
        with pytest.raises(ExportCheckError, match="random, or keeps state"):
            check_repeatable(candidate_of(run=run, inputs=expected.inputs))


def test_a_mean_over_the_batch_is_detected(expected: Outputs) -> None:
    def centered(inputs: dict) -> dict:
        return {"y": sums(inputs)["y"] - sums(inputs)["y"].mean(0)}

    with pytest.raises(ExportCheckError, match=r"with the rest of the batch \(limit .*\), first at Sub"):
        compare_batches(OutputCache(centered, expected.inputs), expected, lambda: ", first at Sub")


def test_a_threshold_on_a_mean_of_the_batch_is_detected(expected: Outputs) -> None:
    """Ordinary images average out; far brighter and far darker ones cross the threshold."""

    def thresholded(threshold: float) -> Callable:
        def run(inputs: dict) -> dict:
            x = inputs["input"]
            crossed = x.mean() > threshold if threshold > 0 else x.mean() < threshold
            return sums({"input": 1 - x if crossed else x})

        return run

    for threshold in (0.5, -0.9, 5.0):
        with pytest.raises(ExportCheckError, match="with the rest of the batch"):
            compare_batches(OutputCache(thresholded(threshold), expected.inputs), expected, lambda: "")


def test_a_test_of_the_sign_over_the_batch_is_detected(expected: Outputs) -> None:
    """Is it [0, 1] or [-1, 1]: images with values of both signs agree with any neighbor."""

    def signed(inputs: dict) -> dict:
        x = inputs["input"]
        return sums({"input": (x + 1) / 2 if (x < 0).any() else x})

    with pytest.raises(ExportCheckError, match="with the rest of the batch"):
        compare_batches(OutputCache(signed, expected.inputs), expected, lambda: "")


def test_nan_is_no_output(expected: Outputs) -> None:
    def broken(inputs: dict) -> dict:
        y = sums(inputs)["y"]
        return {"y": y if len(y) > 1 else y * np.nan}

    with pytest.raises(ExportCheckError, match="nan"):
        compare_batches(OutputCache(broken, expected.inputs), expected, lambda: "")
