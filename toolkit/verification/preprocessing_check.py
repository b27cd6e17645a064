"""Would a network score better if images were prepared otherwise than its file says?

The usual mistakes of preprocessing (`mistakes`) are tried on labeled images. One is named only where it
beats the spec on the same images by more than chance, the number of mistakes that were tried accounted for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.data.labeled import labeled_files
from cnntk.paired import calibrated, holm, log_likelihoods, mcnemar, sign_flips
from cnntk.runtime.artifact.spec import ModelSpec, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import DataError, ImageError, MissingDependency, UnsupportedArtifact
from cnntk.runtime.files import readable_file
from cnntk.runtime.images.reading import read_image
from cnntk.runtime.sections import Column, Section, Table
from cnntk.runtime.session.cores import usable_cores
from cnntk.verification.network_input import NetworkInput
from cnntk.verification.preprocessing_variants import Variant, variants_of

__all__ = ["ALPHA", "LIMIT", "PreprocessingCheck", "VariantScore", "check_preprocessing"]

LIMIT = 300
"""Images that are used at most, unless another number is asked for."""

ALPHA = 0.05
"""How often a mistake may be named where there is none."""

_BATCH = 16

Array = NDArray[Any]


@dataclass(frozen=True)
class VariantScore:
    """How images score, prepared in one way.

    Attributes:
        name: of the mistake; ``spec`` for what the spec says.
        change: what the network then was trained on, in words.
        options: of ``--preprocessing``, that make the spec say so; empty where none does.
        images: how many were scored.
        differing: of how many the network's input is another than by the spec.
        accuracy: 0 to 1.
        log_likelihood: mean of the true labels', in nats, as the file answers.
        gained: images that are right thus, and wrong by the spec.
        lost: the other way round.
        p_accuracy: of `paired.mcnemar`, by itself.
        p_likelihood: of `paired.sign_flips` on calibrated log-likelihoods, by itself.
        p: twice the smaller of both, by Holm for all candidates whose inputs differ; at least `p_accuracy`,
            so that none is better by its likelihood alone.
        better: whether `p` is below `ALPHA`.
    """

    name: str
    change: str
    options: tuple[str, ...]
    images: int
    differing: int
    accuracy: float
    log_likelihood: float
    gained: int = 0
    lost: int = 0
    p_accuracy: float = 1.0
    p_likelihood: float = 1.0
    p: float = 1.0
    better: bool = False


@dataclass(frozen=True)
class PreprocessingCheck:
    """What trying other ways to prepare images showed.

    Attributes:
        model: the file.
        folder: of the images.
        spec: how the images score as the spec says.
        candidates: how they score otherwise, best first.
        left_out: names of those that could not be tried; `notes` say why.
        broken: what is wrong with images that were left out, a line each.
        notes: what to know beside.
    """

    model: str
    folder: str
    spec: VariantScore
    candidates: tuple[VariantScore, ...]
    left_out: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> VariantScore | None:
        """The best of those that are better than the spec."""
        return next((c for c in self.candidates if c.better), None)

    @property
    def holds(self) -> bool:
        """Whether nothing that was tried is better."""
        return self.best is None

    @property
    def verdict(self) -> str:
        """In one line, with what to do."""
        best, spec = self.best, self.spec
        if best is None:
            tried = len([c for c in self.candidates if c.differing])
            return (
                f"no mismatch: of {tried} ways tried, nothing would score better than the spec's "
                f"{_percent(spec)} on {spec.images} images"
            )
        options = " ".join(f"--preprocessing {option}" for option in best.options)
        mend = (
            f"export again with {options}"
            if options
            else "prepare images so: no --preprocessing option says it"
        )
        return (
            f"mismatch: {best.name} would score {_percent(best)} instead of {_percent(spec)} on "
            f"{spec.images} images (p = {best.p:.1g}): the network answers as if trained on {best.change}; "
            f"{mend}"
        )

    def sections(self) -> tuple[Section, ...]:
        """The verdict, and how each variant scores, for text and pages."""
        titles = ("accuracy", "log-lik.", "gained", "lost", "p")
        columns = (Column("variant"), *(Column(title, "right") for title in titles), Column(""))
        rows = tuple(_row(candidate) for candidate in (self.spec, *self.candidates))
        return (Section("", self.verdict, tables=(Table(columns, rows),)),)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "holds": self.holds, "verdict": self.verdict}


def _row(candidate: VariantScore) -> tuple[str, ...]:
    """Images that the variant alone gets right are gained, those that the spec alone gets right are lost."""
    scores = f"{100 * candidate.accuracy:.1f} %", f"{candidate.log_likelihood:.3f}"
    if not candidate.differing:
        return candidate.name, *scores, "", "", "", "" if candidate.name == "spec" else "same input"
    changes = f"{candidate.gained:+}" if candidate.gained else "0", str(-candidate.lost)
    return candidate.name, *scores, *changes, f"{candidate.p:.1g}", "better" if candidate.better else ""


def check_preprocessing(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    limit: int = LIMIT,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> PreprocessingCheck:
    """Tries the usual mistakes of preprocessing on labeled images.

    Images are prepared on the host, by the spec and otherwise, so that all ways differ in nothing else; the
    preprocessing in a graph is within a level or two of that, as was proven at export. The images must be
    independent of each other: frames of one video are not.

    Args:
        model: an artifact of a classifier that says how images become its input.
        folder: with a folder per class, which bears the model's label or its number from 0 on; or with a
            ``labels.csv`` of the columns ``file`` and ``label``.
        limit: how many images to use at most.
        seed: of which are used, where there are more.
        device: as `Engine` takes it.
        progress: is told how many images are done, and of how many.

    Raises:
        UsageError: there is no such file or device.
        UnsupportedArtifact: it is no classifier of images.
        DataError: there is no image that can be used.
        MissingDependency: the spec itself can't be tried without onnx.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    path = readable_file(model, "an ONNX model")
    engine = Engine(path, device)
    spec, p = _classifier(engine)
    files = labeled_files(Path(folder), spec.labels).sample(limit, seed)
    network_input = NetworkInput(path, engine)
    ways = (Variant("spec", "", p), *variants_of(p))
    scores = _Scores(ways, network_input)
    broken = _score(scores, files.paths, files.labels, progress or (lambda *_: None))
    unreadable = (*files.unreadable, *broken)
    if not scores.truth:
        raise DataError(f"{folder}: no image of it can be read; the first: {unreadable[0]}")
    left_out = tuple(way.name for way in ways if way.name in scores.untried)
    if ways[0].name in left_out:
        raise MissingDependency(f"{path}: {network_input.note}")
    first, rest = _judged(scores)
    alike = _no_worse(scores, [c.name for c in rest if c.better])
    more = (*_left_out_note(left_out, network_input), *_doubts(first, rest, alike, set(scores.truth)))
    return PreprocessingCheck(
        os.fspath(path), os.fspath(folder), first, rest, left_out, unreadable, (*files.notes, *more)
    )


def _classifier(engine: Engine) -> tuple[ModelSpec, Preprocessing]:
    spec = engine.spec
    if spec is None or spec.preprocessing is None:
        raise UnsupportedArtifact(
            f"{engine.name}: does not say how an image becomes its input, so it can't say it wrong; "
            "export it with --preprocessing K=V"
        )
    if spec.head != "classifier":
        raise UnsupportedArtifact(f"{engine.name}: is no classifier, so labeled images don't score it")
    return spec, spec.preprocessing


class _Scores:
    """Logits of all ways, batch by batch."""

    def __init__(self, ways: Sequence[Variant], network_input: NetworkInput) -> None:
        self.ways = ways
        self.truth: list[int] = []
        self.untried: set[str] = set()
        self.differing = dict.fromkeys((way.name for way in ways), 0)
        self._network_input = network_input
        self._logits: dict[str, list[Array]] = {way.name: [] for way in ways}
        self._pixels = {way.pixels: way for way in ways}

    def levels(self, path: str) -> dict[Any, Array] | str:
        """An image's levels by every way; what is wrong with it where it can't be read."""
        try:
            image = read_image(path, background=self.ways[0].preprocessing.background)
        except ImageError as error:
            return str(error)
        return {key: way.levels(image) for key, way in self._pixels.items()}

    def add(self, found: Sequence[dict[Any, Array]], truth: Iterable[int]) -> None:
        """A batch of what `levels` gave."""
        self.truth += truth
        spec = self.ways[0]
        for way in self.ways:
            if way.name in self.untried:
                continue
            logits = self._network_input.logits(
                np.stack([each[way.pixels] for each in found]), way.preprocessing
            )
            if logits is None:
                self.untried.add(way.name)
                continue
            self._logits[way.name].append(logits)
            same = way.pixels == spec.pixels
            pairs = ((each[way.pixels], each[spec.pixels]) for each in found)
            self.differing[way.name] += sum(same or not np.array_equal(a, b) for a, b in pairs)

    def logits(self, way: Variant) -> Array:
        """(N, K)."""
        return np.concatenate(self._logits[way.name])


def _score(
    scores: _Scores, paths: Sequence[str], labels: Sequence[int], progress: Callable[[int, int], None]
) -> list[str]:
    """Asks the network, and returns what is wrong with the images that can't be read."""
    broken = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(paths), _BATCH):
            batch = list(pool.map(scores.levels, paths[start : start + _BATCH]))
            broken += [found for found in batch if isinstance(found, str)]
            pairs = [
                (found, label)
                for found, label in zip(batch, labels[start : start + _BATCH], strict=True)
                if not isinstance(found, str)
            ]
            if pairs:
                scores.add([found for found, _ in pairs], [label for _, label in pairs])
            progress(start + len(batch), len(paths))
    return broken


def _judged(scores: _Scores) -> tuple[VariantScore, tuple[VariantScore, ...]]:
    truth, spec = np.array(scores.truth, dtype=np.int64), scores.ways[0]
    base = scores.logits(spec)
    right, likely = _right(base, truth), calibrated(base, truth)
    found = []
    for way in scores.ways[1:]:
        if way.name in scores.untried:
            continue
        logits = scores.logits(way)
        now, differing = _right(logits, truth), scores.differing[way.name]
        gained, lost = int((now & ~right).sum()), int((right & ~now).sum())
        candidate = _plain(way, spec, logits, truth, differing)
        if differing:
            candidate = replace(
                candidate,
                gained=gained,
                lost=lost,
                p_accuracy=mcnemar(gained, lost),
                p_likelihood=sign_flips(calibrated(logits, truth) - likely),
            )
        found.append(candidate)
    ranked = sorted(_corrected(found), key=lambda c: (-c.accuracy, -c.log_likelihood))
    return _plain(spec, spec, base, truth, 0), tuple(ranked)


def _plain(
    way: Variant,
    spec: Variant,
    logits: Array,
    truth: NDArray[np.int64],
    differing: int,
) -> VariantScore:
    return VariantScore(
        way.name,
        way.change,
        way.options(spec.preprocessing),
        len(truth),
        differing,
        float(_right(logits, truth).mean()),
        float(log_likelihoods(logits, truth).mean()),
    )


def _corrected(found: Sequence[VariantScore]) -> list[VariantScore]:
    tested = [c for c in found if c.differing]
    adjusted = holm([min(1.0, 2 * min(c.p_accuracy, c.p_likelihood)) for c in tested])
    highest = [max(p, c.p_accuracy) for p, c in zip(adjusted, tested, strict=True)]
    by_name = {c.name: replace(c, p=p, better=p < ALPHA) for c, p in zip(tested, highest, strict=True)}
    return [by_name.get(c.name, c) for c in found]


def _no_worse(scores: _Scores, better: Sequence[str]) -> tuple[str, ...]:
    """Which of those that are better, the best first, are no worse than that by more than chance."""
    truth = np.array(scores.truth, dtype=np.int64)
    right = {way.name: _right(scores.logits(way), truth) for way in scores.ways if way.name in better}
    return tuple(
        name
        for name in better[1:]
        if mcnemar(int((right[better[0]] & ~right[name]).sum()), int((right[name] & ~right[better[0]]).sum()))
        >= ALPHA
    )


def _right(logits: Array, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((logits.argmax(axis=1) == truth) & np.isfinite(logits).all(axis=1))


def _left_out_note(left_out: Sequence[str], network_input: NetworkInput) -> tuple[str, ...]:
    if not left_out:
        return ()
    return (f"not tried: {', '.join(left_out)}; {network_input.note or 'bytes can not express them'}",)


def _doubts(
    spec: VariantScore, candidates: Sequence[VariantScore], alike: Sequence[str], classes: set[int]
) -> tuple[str, ...]:
    """What keeps the answer from saying more."""
    notes = []
    if alike:
        notes.append(f"as good on these images: {', '.join(alike)}")
    same = [c.name for c in candidates if not c.differing]
    if same:
        notes.append(f"make no difference to these images: {', '.join(same)}")
    tried = len(candidates) - len(same)
    least = next(n for n in range(1, 99) if 2 * tried * 0.5**n < ALPHA)
    if spec.images < least:
        notes.append(
            f"{spec.images} images can't show anything among {tried} ways: at least {least} are needed"
        )
    chance = 1 / len(classes)
    spread = 2 * (chance * (1 - chance) / spec.images) ** 0.5
    if (
        len(classes) > 1
        and max([spec.accuracy, *(c.accuracy for c in candidates if c.better)]) <= chance + spread
    ):
        notes.append(
            f"{_percent(spec)} is what guessing scores on {len(classes)} classes: are the labels right?"
        )
    better = [c.name for c in candidates if c.better]
    if len(better) > 1:
        notes.append(
            f"{len(better)} ways are better; mistakes come in company, so verify again when it is mended"
        )
    return tuple(notes)


def _percent(candidate: VariantScore) -> str:
    return f"{100 * candidate.accuracy:.1f} %"
