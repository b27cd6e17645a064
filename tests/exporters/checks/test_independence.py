from collections.abc import Callable

import numpy as np
import pytest

from cnntk.exporters.checks.independence import check_batch_invariance, check_repeatable
from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.parity import Answers
from cnntk.exporters.checks.runs import Runs
from cnntk.runtime.errors import ExportCheckError


def sums(inputs: dict) -> dict:
    return {"y": inputs["input"].sum((2, 3))}


@pytest.fixture
def answers(trials: Trials) -> Answers:
    exact = {k: v.astype(np.float64) for k, v in sums(trials.arrays).items()}
    bounds = {"y": 1e-5 * np.abs(exact["y"]).max(axis=1) + 1e-6}
    return Answers(trials, exact, sums(trials.arrays), bounds)


def test_a_function_of_each_image_passes(answers: Answers) -> None:
    assert "to the bit" in check_repeatable(Runs(sums, answers.trials)).detail
    assert "neighbors move" in check_batch_invariance(Runs(sums, answers.trials), answers, lambda: "").detail


def test_memory_and_chance_are_found(answers: Answers) -> None:
    calls = []
    rng = np.random.default_rng(0)

    def counts(inputs: dict) -> dict:
        calls.append(1)
        return {"y": sums(inputs)["y"] + len(calls)}

    def draws(inputs: dict) -> dict:
        return {"y": sums(inputs)["y"] + rng.random()}

    for run in (counts, draws):
        with pytest.raises(ExportCheckError, match="random or remembers"):
            check_repeatable(Runs(run, answers.trials))


def test_neighbors_that_matter_are_found(answers: Answers) -> None:
    def centered(inputs: dict) -> dict:
        return {"y": sums(inputs)["y"] - sums(inputs)["y"].mean(0)}

    with pytest.raises(ExportCheckError, match="its neighbors in the batch, first at Sub"):
        check_batch_invariance(Runs(centered, answers.trials), answers, lambda: ", first at Sub")


def test_nan_is_no_answer(answers: Answers) -> None:
    def broken(inputs: dict) -> dict:
        y = sums(inputs)["y"]
        return {"y": y if len(y) > 1 else y * np.nan}

    check: Callable = check_batch_invariance
    with pytest.raises(ExportCheckError, match="nan"):
        check(Runs(broken, answers.trials), answers, lambda: "")
