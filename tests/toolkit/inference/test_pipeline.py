import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from cnntk.inference import ImageResult, infer, pipeline
from cnntk.inference.pipeline import NamedImage
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.classifier import Predictions
from cnntk.runtime.errors import InferenceError, UsageError
from cnntk.runtime.images.reading import Pixels


def kinds(results: list[ImageResult]) -> list[str]:
    return [r.predictions.best.label if r.predictions else str(r.error) for r in results]


def kind_of(file: str) -> str:
    return Path(file).stem.partition("-")[2]


@pytest.mark.parametrize("batch", [None, 1, 4, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_image_in_order(tiny_onnx: Path, images: list[str], batch: int | None, threads: int) -> None:
    results = list(infer(tiny_onnx, images, batch=batch, threads=threads))
    assert [r.file for r in results] == images
    assert kinds(results) == [kind_of(file) for file in images]
    assert kinds(results) != kinds(results[::-1]), "an order that could not be told would prove nothing"


def test_images_in_memory_have_names(tiny_onnx: Path, images: list[str]) -> None:
    arrays = [NamedImage(f"number {i}", np.asarray(Image.open(file))) for i, file in enumerate(images)]
    results = list(infer(tiny_onnx, [images[0], *arrays]))
    assert [r.file for r in results] == [images[0], *(one.file for one in arrays)]
    assert kinds(results) == [kind_of(file) for file in (images[0], *images)]


def test_slow_and_broken_ones_neither_stop_nor_move_the_rest(
    tiny_onnx: Path, images: list[str], tmp_path: Path
) -> None:
    broken, slow = tmp_path / "broken.png", tmp_path / "slow-light.png"
    broken.write_bytes(b"")
    os.mkfifo(slow)
    files = [images[0], str(slow), *images[1:8], str(broken), "gone.png", *images[8:]]

    def feed() -> None:
        with slow.open("wb") as pipe:
            time.sleep(0.1)
            pipe.write(Path(images[1]).read_bytes())

    feeder = threading.Thread(target=feed)
    feeder.start()
    results = list(infer(tiny_onnx, files, batch=2, threads=2))
    feeder.join()
    assert [r.file for r in results] == files
    named = {str(broken): f"{broken}: is empty (0 bytes)", "gone.png": "gone.png: no such file"}
    assert kinds(results) == [named.get(file) or kind_of(file) for file in files]


def test_answers_are_those_of_single_calls(tiny_onnx: Path, images: list[str]) -> None:
    classifier = Classifier(tiny_onnx, threads=1)
    results = list(infer(tiny_onnx, images, batch=4, threads=2))
    for start in range(0, len(images), 4):
        together = classifier.many(images[start : start + 4])
        for result, expected in zip(results[start : start + 4], together, strict=True):
            assert result.predictions is not None
            np.testing.assert_array_equal(result.predictions.probabilities, expected.probabilities)
            alone = classifier(result.file).probabilities
            np.testing.assert_allclose(result.predictions.probabilities, alone, atol=1e-6)
    first, second = (r.predictions.probabilities for r in results[:2] if r.predictions)
    assert np.abs(first - second).max() > 1e-3, "images are told apart"


def test_endless_files_are_read_a_little_ahead(tiny_onnx: Path, images: list[str]) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        for file in itertools.cycle(images):
            read += 1
            yield file

    results = infer(tiny_onnx, endless(), batch=4, threads=2)
    ahead = []
    for done, _ in enumerate(itertools.islice(results, 2000), start=1):
        ahead.append(read - done)
    assert 4 <= max(ahead) <= 4 * (2 * pipeline._AHEAD + 1), "some ahead, but not more for more files"


def test_nothing_goes_on_after_the_last_result_that_is_wanted(tiny_onnx: Path, images: list[str]) -> None:
    results = infer(tiny_onnx, itertools.cycle(images), batch=2, threads=2)
    next(results)
    assert workers(), "it works ahead"
    results.close()  # type: ignore[attr-defined]
    assert not workers()


def test_abandoned_results_may_end_in_a_thread_of_their_own() -> None:
    """As when the garbage collector runs there: a thread can't wait for itself."""
    errors: list[RuntimeError] = []
    submitted, ended, abandoned = (threading.Event() for _ in range(3))

    def files() -> Iterator[str]:
        yield from ("first", "second")
        submitted.set()

    class Work:
        model = SimpleNamespace(engine=SimpleNamespace(device="cpu"))
        stopped = threading.Event()

        def __call__(self, names: list[NamedImage]) -> list[NamedImage]:
            submitted.wait(60)
            if names[0].file == "second" and abandoned.wait(60):
                try:
                    results.close()
                except RuntimeError as error:
                    errors.append(error)
                ended.set()
            return names

    results = pipeline._results(Work(), files(), 1, 1)  # type: ignore[arg-type]
    next(results)
    abandoned.set()
    assert ended.wait(60)
    assert errors == []


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("cnntk-infer")]


class Together(Engine):
    """Lets callers through in pairs only."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pair = threading.Barrier(2, timeout=30)

    def run(self, inputs: Any) -> Any:
        self._pair.wait()
        return super().run(inputs)


class Alone(Engine):
    """Fails where a second caller comes before the first has left."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = threading.Lock()
        self.device = "cuda:0"  # only what it says: there need not be one

    def run(self, inputs: Any) -> Any:
        assert self._lock.acquire(blocking=False)
        try:
            time.sleep(0.002)
            return super().run(inputs)
        finally:
            self._lock.release()


def test_an_engine_of_one_thread_is_called_on_every_core(tiny_onnx: Path, images: list[str]) -> None:
    classifier = Classifier(Together(tiny_onnx, threads=1))
    assert len(list(infer(classifier, images[:20], batch=5, threads=2))) == 20


def test_elsewhere_callers_take_turns(tiny_onnx: Path, images: list[str]) -> None:
    classifier = Classifier(Alone(tiny_onnx))
    assert len(list(infer(classifier, images, batch=1, threads=3))) == len(images)


def test_the_check_of_turns_can_fail(
    tiny_onnx: Path, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_gate", lambda *_: threading.BoundedSemaphore(3))
    with pytest.raises(AssertionError):
        list(infer(Classifier(Alone(tiny_onnx)), images, batch=1, threads=3))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_takes_any_number(
    tiny_onnx: Path, tmp_path: Path, images: list[str], batch: int
) -> None:
    model = onnx.load(tiny_onnx)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "one.onnx"
    onnx.save(model, path)
    assert kinds(list(infer(path, images, batch=batch))) == [kind_of(file) for file in images]


class Failing(Engine):
    """Fails in its third run."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._runs = itertools.count(1)

    def run(self, inputs: Any) -> Any:
        if next(self._runs) == 3:
            raise InferenceError("out of memory")
        return super().run(inputs)


def test_a_failing_engine_stops_it(tiny_onnx: Path, images: list[str]) -> None:
    results = infer(Classifier(Failing(tiny_onnx, threads=1)), images, batch=1, threads=1)
    assert next(results).file == images[0]
    with pytest.raises(InferenceError, match="out of memory"):
        list(results)


def test_large_images_do_not_wait_for_their_batch(
    tiny_onnx: Path, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = kinds(list(infer(tiny_onnx, images, batch=8)))
    sizes = []
    original = Classifier.classify_prepared

    def counted(self: Classifier, fitted: Sequence[Pixels]) -> list[Predictions]:
        sizes.append(len(fitted))
        return original(self, fitted)

    monkeypatch.setattr(Classifier, "classify_prepared", counted)
    monkeypatch.setattr(pipeline, "_BATCH_BYTES", 40)  # images of 16
    assert kinds(list(infer(tiny_onnx, images, batch=8))) == expected
    assert max(sizes) == 3
    assert sum(sizes) == len(images)


def test_few_images_are_shared_among_the_cores(tiny_onnx: Path, images: list[str]) -> None:
    classifier = Classifier(Together(tiny_onnx, threads=1))
    assert len(list(infer(classifier, images[:6], threads=2))) == 6


def test_limits_notes_and_finished_results(tiny_onnx: Path, images: list[str], tmp_path: Path) -> None:
    animated, finished = tmp_path / "two.gif", ImageResult("x", None, "finished")
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    frames[0].save(animated, save_all=True, append_images=frames[1:])
    large = tmp_path / "large.png"
    Image.new("L", (100, 100)).save(large)
    first, second, third = infer(tiny_onnx, [animated, large, finished], max_megapixels=0.005)
    assert first.notes == ("the first of 2 frames",)
    assert "100x100 is over 0.005 megapixels" in str(second.error)
    assert third is finished


@pytest.mark.parametrize("name", ["max_megapixels", "--max-megapixels"])
def test_the_limit_is_named_as_the_caller_names_it(tiny_onnx: Path, images: list[str], name: str) -> None:
    (result,) = infer(tiny_onnx, images[:1], max_megapixels=1e-6, limit_name=name)
    assert str(result.error).endswith(f"4x4 is over 1e-06 megapixels; scale it down first, or raise {name}")


def test_wrong_use(tiny_onnx: Path) -> None:
    with pytest.raises(TypeError, match=r"expected a list of names, got one, 'a.png'"):
        infer(tiny_onnx, "a.png")
    with pytest.raises(ValueError, match="must be at least 1"):
        infer(tiny_onnx, ["a.png"], batch=0)
    with pytest.raises(UsageError, match="no such file"):
        infer("none.onnx", ["a.png"])
    assert list(infer(tiny_onnx, [])) == []
