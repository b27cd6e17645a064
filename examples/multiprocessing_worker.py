"""Classifies many images in several processes, with a classifier of one thread in each.

pip install 'cnntk[cpu]'
python examples/multiprocessing_worker.py [IMAGE...]

Processes are spawned, as on Windows and macOS. `ProcessPoolExecutor` reports a model that cannot be loaded;
`multiprocessing.Pool` would restart its workers again and again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from drawn_digits import drawn_digit

from cnntk.runtime import Classifier, Engine, ImageError, ImageSource, Prediction
from cnntk.shipped import shipped_model

_classifier: Classifier  # of a worker process, created by `start`


def start(model: Path | Engine) -> None:
    """Loads the model, once in each process; an `Engine` arrives pickled and loads its own file again."""
    global _classifier
    _classifier = Classifier(model, threads=1)


def classify(image: ImageSource) -> Prediction | ImageError:
    """Returns the best prediction, or the error of an image that cannot be read."""
    try:
        return _classifier(image).best
    except ImageError as error:
        return error


def classify_all(
    model: Path | Engine, images: Iterable[ImageSource], processes: int = 2
) -> list[Prediction | ImageError]:
    """Classifies images in several processes and returns the results in order.

    Raises:
        BrokenProcessPool: A process could not load the model.
    """
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=start, initargs=(model,)) as pool:
        return list(pool.map(classify, images, chunksize=4))


def main() -> None:
    """Classifies the named files, or drawn digits: with the model's path, then with an engine."""
    images: list[ImageSource] = [*sys.argv[1:]] or [drawn_digit(digit) for digit in range(10)]
    for how, model in (("a path", shipped_model()), ("an engine", Engine(shipped_model(), threads=1))):
        print(f"from {how}")
        for result in classify_all(model, images):
            if isinstance(result, Prediction):
                print(f"{result.label}  {result.probability:.1%}")
            else:
                print(f"error: {result}")


if __name__ == "__main__":  # a spawned process imports this file again
    main()
