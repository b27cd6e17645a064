"""A web service that classifies images; requests that arrive together run as one batch.

pip install 'cnntk[cpu]' fastapi uvicorn
python examples/fastapi_service.py [--model FILE] [--port 8000]
curl --data-binary @seven.png 'http://127.0.0.1:8000/classify?top=3'

The service starts only if the model passes its self-test on this machine. The model must be an artifact that
takes pixels, as `cnntk export` writes it; images of one size share a batch. A full queue refuses requests.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse

from cnntk.runtime import (
    BatchingEngine,
    Classifier,
    Engine,
    ImageError,
    Pixels,
    Prediction,
    Predictions,
    QueueFull,
)
from cnntk.shipped import shipped_model

MAX_BYTES = 20_000_000
MAX_MEGAPIXELS = 16


@dataclass(frozen=True)
class Service:
    """The classifier and engine that all requests share."""

    classifier: Classifier
    engine: BatchingEngine

    async def classify(self, image: bytes) -> Predictions:
        """Decodes in a thread, then runs in a batch with other waiting requests."""
        pixels = await asyncio.to_thread(self._pixels, image)
        outputs = await asyncio.wrap_future(self.engine.submit({"image": pixels[None]}, block=False))
        return Predictions(self.classifier.labels, outputs["probabilities"][0])

    def _pixels(self, image: bytes) -> Pixels:
        decoded = self.classifier.decode(image, max_megapixels=MAX_MEGAPIXELS)
        return self.classifier.prepare(decoded.pixels)


def make_app(model: Path, max_queue: int) -> FastAPI:
    """Creates the service of one model; at most ``max_queue`` requests wait for it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = Engine(model, self_test=True)
        with BatchingEngine(engine, max_batch=32, max_wait_ms=2.0, max_queue=max_queue) as batching:
            app.state.service = Service(Classifier(engine), batching)
            yield

    app = FastAPI(title="cnntk", lifespan=lifespan)
    app.get("/health")(health)
    app.post("/classify")(classify)
    app.add_exception_handler(ImageError, _refusal(422))
    app.add_exception_handler(QueueFull, _refusal(503, {"Retry-After": "1"}))
    return app


async def health(request: Request) -> dict[str, Any]:
    """Returns the model, its device and the engine's counters."""
    service: Service = request.app.state.service
    engine, stats = service.engine.engine, service.engine.stats
    return {"model": Path(engine.name).name, "device": engine.device, "self_test": "passed", **asdict(stats)}


async def classify(request: Request, top: Annotated[int, Query(ge=1)] = 3) -> list[Prediction]:
    """Returns the most probable classes of the image in the request's body, best first."""
    service: Service = request.app.state.service
    image = bytearray()
    async for part in request.stream():
        image += part
        if len(image) > MAX_BYTES:
            raise HTTPException(413, f"over {MAX_BYTES} bytes; scale the image down first")
    return (await service.classify(bytes(image))).top(top)


def _refusal(
    status: int, headers: dict[str, str] | None = None
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def refuse(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status, headers)

    return refuse


def main() -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(description="Classifies images over HTTP.")
    parser.add_argument("--model", type=Path, default=shipped_model())
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-queue", type=int, default=1024)
    arguments = parser.parse_args()
    uvicorn.run(make_app(arguments.model, arguments.max_queue), host="127.0.0.1", port=arguments.port)


if __name__ == "__main__":
    main()
