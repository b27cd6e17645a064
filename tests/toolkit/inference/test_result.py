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
