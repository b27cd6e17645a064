import numpy as np

from cnntk.inference import ImageResult
from cnntk.runtime.classifier import Predictions


def test_predictions_become_json_best_first() -> None:
    predictions = Predictions(("a", "b", "c"), np.array([0.25, 0.625, 0.125], np.float32))
    assert ImageResult("a.png", predictions, notes=("the first of 2 frames",)).row(2) == {
        "file": "a.png",
        "predictions": [{"label": "b", "probability": 0.625}, {"label": "a", "probability": 0.25}],
    }


def test_an_error_becomes_json() -> None:
    assert ImageResult("a.png", None, "why").row(3) == {"file": "a.png", "error": "why"}


def test_rows_of_arrays() -> None:
    outputs = {
        "x": np.array([[1.0, 2.0, 6.0]], np.float32),
        "names": np.array(["a"]),
        "none": np.zeros((0, 4)),
    }
    result = ImageResult("a.png", None, outputs=outputs)
    row = result.row(3)["outputs"]
    assert row["x"] == {"shape": [1, 3], "dtype": "float32", "min": 1.0, "mean": 3.0, "max": 6.0}
    assert (row["names"]["shape"], row["names"]["min"], row["none"]["shape"], row["none"]["max"]) == (
        [1],
        None,
        [0, 4],
        None,
    )
    assert result.arrays_row() == {"file": "a.png", "arrays": outputs}
    assert ImageResult("a.png", None, "why").arrays_row() == {"file": "a.png", "error": "why"}
