import numpy as np

from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.runs import Runs


def test_each_run_is_made_once_and_again_where_asked(trials: Trials) -> None:
    sizes = []

    def run(inputs: dict) -> dict:
        sizes.append(len(inputs["input"]))
        return inputs

    runs = Runs(run, trials)
    count = len(trials.kinds)
    assert runs(2) is runs(2)
    assert runs(1, 1) is runs(1, 1 + count)
    assert runs.again(2) is not runs(2)
    assert sizes == [2, 1, 2]
    assert np.array_equal(runs(1, 1)["input"][0], runs(2)["input"][1])
