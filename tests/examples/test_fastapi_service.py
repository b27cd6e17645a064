from __future__ import annotations

import http.client
import io
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from drawn_digits import drawn_digit
from PIL import Image

from cnntk.runtime import Classifier
from cnntk.runtime.artifact.spec import METADATA_KEY
from cnntk.shipped import shipped_model

SERVICE = Path(__file__).parents[2] / "examples" / "fastapi_service.py"
START_S = 30


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    data: Any


def ask(port: int, method: str, path: str, body: bytes = b"") -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), json.load(response))
    finally:
        connection.close()


def post(port: int, image: bytes, query: str = "") -> Reply:
    return ask(port, "POST", f"/classify{query}", image)


def command(port: int, *options: str) -> list[str]:
    return [sys.executable, str(SERVICE), "--port", str(port), *options]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(log: Path, *options: str) -> Iterator[int]:
    """The port of a service that has started."""
    port = free_port()
    with (
        log.open("w") as file,
        subprocess.Popen(command(port, *options), stderr=file, stdout=file) as process,
    ):
        try:
            end = time.monotonic() + START_S
            while not responds(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def responds(port: int) -> bool:
    try:
        return ask(port, "GET", "/health").status == 200
    except ConnectionRefusedError:
        return False


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("service") / "log.txt") as port:
        yield port


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_tells_that_the_self_test_held(port: int) -> None:
    reply = ask(port, "GET", "/health")
    assert reply.status == 200
    assert reply.data["model"] == "lenet.onnx"
    assert reply.data["self_test"] == "passed"


def test_predicts_as_the_classifier_in_batches(port: int) -> None:
    before = ask(port, "GET", "/health").data
    classify = Classifier(shipped_model(), threads=1)
    images = [png(drawn_digit(i % 10, size=(48, 112)[i % 3 == 0])) for i in range(30)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda image: post(port, image), images))
    assert {reply.status for reply in replies} == {200}
    for i, (image, reply) in enumerate(zip(images, replies, strict=True)):
        expected = classify(image).top(3)
        assert [p["label"] for p in reply.data] == [p.label for p in expected]
        assert reply.data[0]["label"] == str(i % 10)
        assert reply.data[0]["probability"] == pytest.approx(expected[0].probability, abs=1e-6)
    after = ask(port, "GET", "/health").data
    assert after["requests"] - before["requests"] == len(images)
    assert after["batches"] - before["batches"] < len(images)


def test_another_digit_has_another_prediction(port: int) -> None:
    best = [post(port, png(drawn_digit(digit)), "?top=1").data for digit in (3, 7)]
    assert [[p["label"] for p in predictions] for predictions in best] == [["3"], ["7"]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no image", "not a readable image"),
        (b"", "is empty"),
        (png(drawn_digit(7))[:-40], "damaged or cut short"),
    ],
)
def test_a_bad_image_is_refused_in_one_line(port: int, body: bytes, message: str) -> None:
    reply = post(port, body)
    assert reply.status == 422
    assert message in reply.data["detail"]
    assert "\n" not in reply.data["detail"]
    assert post(port, png(drawn_digit(7))).status == 200


def test_too_many_pixels_are_refused(port: int) -> None:
    reply = post(port, png(np.zeros((5000, 5000), dtype=np.uint8)))
    assert (reply.status, "over 16 megapixels" in reply.data["detail"]) == (422, True)


def test_too_many_bytes_are_refused(port: int) -> None:
    reply = post(port, bytes(20_000_001))
    assert (reply.status, reply.data["detail"]) == (413, "over 20000000 bytes; scale the image down first")


def test_a_full_queue_turns_requests_away(tmp_path: Path) -> None:
    large = png(drawn_digit(7, size=2000))
    with serving(tmp_path / "log.txt", "--max-queue", "1") as port, ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda image: post(port, image), [large] * 32))
        statuses = Counter(reply.status for reply in replies)
        assert set(statuses) == {200, 503}
        turned_away = next(reply for reply in replies if reply.status == 503)
        assert turned_away.headers["retry-after"] == "1"
        assert "\n" not in turned_away.data["detail"]
        assert post(port, large).status == 200


def test_does_not_start_with_a_model_that_fails_its_self_test(tmp_path: Path) -> None:
    path = tmp_path / "changed.onnx"
    path.write_bytes(with_changed_weights())
    done = subprocess.run(
        command(free_port(), "--model", str(path)), capture_output=True, text=True, timeout=START_S
    )
    assert done.returncode != 0
    assert "changed.onnx: fails its self-test on this device" in done.stderr


def with_changed_weights() -> bytes:
    """The shipped model with a weight doubled, and no digest that would tell."""
    model = onnx.load(shipped_model())
    entry = next(e for e in model.metadata_props if e.key == METADATA_KEY)
    spec = json.loads(entry.value)
    entry.value = json.dumps({k: v for k, v in spec.items() if k not in ("digest", "fingerprints")})
    weight = model.graph.initializer[-1]
    weight.raw_data = (2 * onnx.numpy_helper.to_array(weight)).tobytes()
    return model.SerializeToString()
