"""`search`: the fastest or smallest config within the accuracy limit, never slower than the original."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cnntk.benchmark.compare import Comparison
from cnntk.quantization.accuracy import Accuracy
from cnntk.quantization.candidates import CandidateEvaluator, LayerInfo
from cnntk.quantization.config import Precision, QuantConfig
from cnntk.quantization.options import Prefer, Progress
from cnntk.quantization.report import CandidateResult, Refinement, speed_of
from cnntk.runtime.errors import ArtifactError, InferenceError
from cnntk.runtime.sections import first_names

__all__ = ["MIN_SPEED", "Promotion", "Ranking", "SearchResult", "initial_config", "rank_layers", "search"]

MIN_SPEED = 0.98
"""Lowest end of a speed ratio's interval that counts as not slower: a busy machine can't resolve less."""

_MAX_DEMOTIONS = 4
"""Number of promoted layers that are tried in integers once more."""

_MAX_TRIMMED = 6
"""Number of layers that are tried in float32 at the end, those with the least work first."""

_MAX_REMAINING = 0.95
"""Share of the KL divergence that remains if a refinement is accepted; smaller improvements can be chance."""

_MIN_GAIN = 1.005
"""Speedup of the whole model that one layer in another precision must bring."""

_SMALL_SHARE = 0.1
"""Share of the work in integers up to which a layer is tried in float32."""


@dataclass(frozen=True)
class Promotion:
    """One layer, changed to a higher precision.

    Attributes:
        layer: Name of the layer's node.
        precision: Precision that it is changed to.
        gain: KL divergence that this removes, in nats, measured with the layer alone quantized.
    """

    layer: str
    precision: Precision
    gain: float


@dataclass(frozen=True)
class Ranking:
    """Order in which layers are promoted.

    Attributes:
        promotions: Promotions by descending gain; after all of them nothing is quantized.
        kl_divergence: KL divergence from the original with only this layer quantized, in nats, by layer.
    """

    promotions: tuple[Promotion, ...]
    kl_divergence: dict[str, float]


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        selected: Best candidate; None if the original is kept.
        reason: Why it was selected, or why the original is kept.
        candidates: All measured candidates, in order.
        ranking: Ranking of the layers; None if accuracy needed none.
        config: Config of the selected candidate or of the original, with a reason for each layer.
        interrupted: Whether the search was interrupted, so that a better candidate can exist.
        refinements: Refinements that were tried.
    """

    selected: CandidateResult | None
    reason: str
    candidates: tuple[CandidateResult, ...]
    ranking: Ranking | None
    config: QuantConfig
    interrupted: bool = False
    refinements: tuple[Refinement, ...] = ()


def search(
    evaluator: CandidateEvaluator,
    config: QuantConfig,
    *,
    max_drop: float = 0.5,
    prefer: Prefer = "speed",
    progress: Progress | None = None,
) -> SearchResult:
    """Searches for the best config, starting with one that quantizes as much as possible.

    0. Bias correction and equalized channels: each is accepted if it reduces the KL divergence.
    1. The whole config. If it is too inaccurate, layers are promoted in the order of their KL divergence, as
       few as possible: found by bisection, so that few candidates are created. Of the promoted layers, those
       with the most work are then tried in integers once more.
    2. If that is not faster than the original: only the half of the layers with the most work in integers, a
       quarter, ... down to one layer; the fastest accepted candidate is selected.
    3. Small layers between floats and integers in float32, one by one, if that is faster.

    With ``prefer="size"`` only steps 0 and 1 are done, layers that the config keeps in float32 for their
    speed are quantized, too, and what is then in float32 is stored in 16 bits. Ctrl-C ends a search with the
    best candidate so far.

    Args:
        evaluator: CandidateEvaluator that creates and measures candidates.
        config: Config to start with.
        max_drop: Maximum drop of `Accuracy.judged_drop` in percentage points.
        prefer: Goal: ``speed`` or ``size``.
        progress: Callback that receives the stage, the number of completed items, and the total.

    Raises:
        KeyboardInterrupt: Interrupted before any candidate was accepted.
    """
    run = _Search(evaluator, max_drop, prefer, progress or (lambda *_: None))
    try:
        run.go(config)
    except KeyboardInterrupt:
        if run.best is None:
            raise
        return run.result(interrupted=True)
    return run.result()


def initial_config(config: QuantConfig, layers: Mapping[str, LayerInfo], prefer: Prefer) -> QuantConfig:
    """Config that a search starts with: ``config``, or more layers, so that integers are measured at all.

    If ``config`` quantizes nothing, all layers are tried in 8 bits; with ``prefer="size"``, fully connected
    ones in 4 bits, except for the last, whose errors go straight into the logits.
    """
    if prefer == "speed" and not config.is_float:
        return config
    last = next(reversed(tuple(config.layers)), "")
    for name, plan in config.layers.items():
        small = prefer == "size" and name != last and layers[name].op != "Conv"
        precision: Precision = config.smallest_dense if small else "int8"
        if plan.precision not in (precision, "int4"):
            reason = "for its size" if prefer == "size" else "to measure it"
            config = config.with_precision(name, precision, reason)
    return config


def rank_layers(
    evaluator: CandidateEvaluator, config: QuantConfig, progress: Progress | None = None
) -> Ranking:
    """Ranks the quantized layers of a config by the KL divergence that each causes alone.

    Quantizing all layers but one would run faster. But if two layers cause the same damage, like one that
    writes a value with too coarse steps and one that reads it, promoting either alone gains nothing, and both
    would be ranked last. A layer of 4 bits is measured twice: with 4 and with 8 bits.
    """
    alone = config.all_float()
    promotions: list[Promotion] = []
    divergences: dict[str, float] = {}
    for index, name in enumerate(config.reduced):
        if progress is not None:
            progress("ranking layers", index, len(config.reduced))
        precision = config.layers[name].precision
        loss = evaluator.kl_divergence(alone.with_precision(name, precision, ""))
        divergences[name] = loss
        remaining = loss
        if precision == "int4":
            with_8_bits = evaluator.kl_divergence(alone.with_precision(name, "int8", ""))
            # In one step if the second gains more, because it must not come first.
            if with_8_bits < loss - with_8_bits:
                promotions.append(Promotion(name, "int8", loss - with_8_bits))
                remaining = with_8_bits
        promotions.append(Promotion(name, "float32", remaining))
    return Ranking(tuple(sorted(promotions, key=lambda p: -p.gain)), divergences)


@dataclass
class _Search:
    """State of a search.

    Attributes:
        best: Best accepted candidate; None so far.
        original: Config of the original, with a reason for each layer.
        reason: Why the original is kept.
    """

    evaluator: CandidateEvaluator
    max_drop: float
    prefer: Prefer
    progress: Progress
    candidates: list[CandidateResult] = field(default_factory=list)
    ranking: Ranking | None = None
    best: CandidateResult | None = None
    original: QuantConfig = field(default_factory=lambda: QuantConfig({}))
    reason: str = ""
    refinements: list[Refinement] = field(default_factory=list)

    def go(self, config: QuantConfig) -> None:
        self.original = config.all_float()
        start, change = self._start(config)
        if start.is_float:
            self.reason = "no layer can be computed in integers"
            return
        candidate = self._try(self._refine(start), change)
        if not self._is_accurate(candidate):
            candidate = self._promote(candidate)
        if self.prefer == "size":
            self._store_halves()
            return
        if candidate.config.is_float:
            return
        if not candidate.accepted:
            self._try_fewer_layers(candidate)
        self._trim()

    def result(self, *, interrupted: bool = False) -> SearchResult:
        candidates, best = tuple(self.candidates), self.best
        reason, config = self.reason, self.original
        if best is not None:
            adjective = "smallest" if self.prefer == "size" else "fastest"
            accepted = sum(candidate.accepted for candidate in candidates)
            reason = f"the {adjective} of {accepted} accepted candidates, {len(candidates)} tried"
            reason = reason if len(candidates) > 1 else f"{best.change}, accepted at the first try"
            config = best.config
        refinements = tuple(self.refinements)
        return SearchResult(best, reason, candidates, self.ranking, config, interrupted, refinements)

    def _start(self, config: QuantConfig) -> tuple[QuantConfig, str]:
        """Initial config, without layers that integers can't compute."""
        first = initial_config(config, self.evaluator.layers, self.prefer)
        change = "all layers of the default config" if first == config else "all layers"
        for name in self.evaluator.graph_stats(first).unsupported if not first.is_float else ():
            reason = "integers can't compute it"
            first = first.with_precision(name, "float32", reason)
            self.original = self.original.with_precision(name, "float32", reason)
        return first, change

    def _refine(self, config: QuantConfig) -> QuantConfig:
        """Adds what brings the outputs closer to the original's at no cost in speed."""
        options = [("bias correction", replace(config, bias_correction=True))]
        if self.evaluator.can_equalize:
            options.append(("equalized channels", replace(config, equalized=True)))
            options.append(("both", replace(config, bias_correction=True, equalized=True)))
        try:
            before = least = self.evaluator.kl_divergence(config)
            for index, (name, refined) in enumerate(options):
                self.progress("refining", index, len(options))
                after = self.evaluator.kl_divergence(refined)
                accepted = after < _MAX_REMAINING * least
                if accepted:
                    config, least = refined, after
                self.refinements.append(Refinement(name, before, after, accepted))
        except (ArtifactError, InferenceError):
            pass  # the candidate itself will fail, and its verdict says why
        return config

    def _try(self, config: QuantConfig, change: str, *, speed_first: bool = False) -> CandidateResult:
        """Measures a candidate; it becomes the best if it is."""
        self.progress(f"trying {change}", len(self.candidates), 0)
        speed, size = None, 0
        try:
            size = self.evaluator.graph_stats(config).size_bytes
            speed = self.evaluator.speed(config) if speed_first else None
            slow = self._too_slow(speed)
            accuracy = None if slow else self.evaluator.accuracy(config)
            speed = speed or self.evaluator.speed(config)
            verdict = slow or self._too_inaccurate(accuracy) or self._too_slow(speed) or "accepted"
        except (ArtifactError, InferenceError) as error:
            accuracy, verdict = None, f"can't be run: {error}"
        candidate = CandidateResult(change, config, size, speed, accuracy, verdict)
        self.candidates.append(candidate)
        if candidate.accepted and self._is_better(candidate):
            self.best = candidate
        return candidate

    def _is_better(self, candidate: CandidateResult) -> bool:
        if self.best is None:
            return True
        if self.prefer == "size":
            return candidate.size_bytes < self.best.size_bytes
        return candidate.ratio > self.best.ratio

    def _is_accurate(self, candidate: CandidateResult) -> bool:
        return candidate.accuracy is not None and candidate.accuracy.within(self.max_drop)

    def _too_inaccurate(self, accuracy: Accuracy | None) -> str:
        if accuracy is None or accuracy.within(self.max_drop):
            return ""
        name = "expected drop" if accuracy.drop is None else "top-1 drop"
        return f"{name} {accuracy.judged_drop:.2f} points (limit {self.max_drop:g})"

    def _too_slow(self, speed: Comparison | None) -> str:
        if speed is None or self.prefer == "size" or (speed.ratio >= 1 and speed.low >= MIN_SPEED):
            return ""
        return speed_of(speed)

    def _promote(self, start: CandidateResult) -> CandidateResult:
        """Promotes as few layers as needed; if only all suffice, the original is kept."""
        self.ranking = rank_layers(self.evaluator, start.config, self.progress)
        promotions = self.ranking.promotions
        too_few, enough, best = 0, len(promotions), None
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            candidate = self._try_promoted(start.config, promotions[:middle])
            if self._is_accurate(candidate):
                best, enough = candidate, middle
            else:
                too_few = middle
        if best is not None:
            return self._demote(start.config, promotions[:enough], best)
        last = self.candidates[-1]
        self.reason = f"accuracy: {last.change}: {last.verdict}; with more in float32 nothing is left"
        self.original = _with_promotions(start.config, promotions)
        return replace(start, config=self.original)

    def _demote(
        self, start: QuantConfig, promotions: tuple[Promotion, ...], best: CandidateResult
    ) -> CandidateResult:
        """Takes back promotions that were not needed but ranked before one that was; the last was needed."""
        final = {promotion.layer: promotion for promotion in promotions}
        by_work = sorted(promotions[:-1], key=lambda promotion: -self._work(promotion.layer))
        for promotion in [p for p in by_work if final[p.layer] is p][:_MAX_DEMOTIONS]:
            fewer = tuple(p for p in promotions if p is not promotion)
            candidate = self._try_promoted(start, fewer)
            better = self.prefer == "size" or candidate.ratio > best.ratio
            if self._is_accurate(candidate) and better:
                best, promotions = candidate, fewer
        return best

    def _try_promoted(self, start: QuantConfig, promotions: tuple[Promotion, ...]) -> CandidateResult:
        final = {promotion.layer: promotion.precision for promotion in promotions}
        parts = [
            f"{self._titles(n for n, p in final.items() if p == precision)} in {precision}"
            for precision in dict.fromkeys(final.values())
        ]
        change = f"layer{'s' * (len(final) > 1)} {', '.join(parts)}"
        return self._try(_with_promotions(start, promotions), change)

    def _try_fewer_layers(self, start: CandidateResult) -> None:
        """Tries only the layers with the most work in integers, by halves, and each type of layer alone."""
        order = self._by_work(start.config)
        tried = {frozenset(order)}
        for names in _subsets(order, self.evaluator.layers):
            if frozenset(names) in tried:
                continue
            tried.add(frozenset(names))
            config = start.config
            for name in set(order) - set(names):
                reason = "for speed: converting to integers costs more"
                config = config.with_precision(name, "float32", reason)
            change = f"only layer{'s' * (len(names) > 1)} {self._titles(names)} in integers"
            self._try(config, change, speed_first=True)
        if self.best is None:
            self.reason, reason = self._why_slow(start), "for speed: integers were no faster here"
            for name in order:
                self.original = self.original.with_precision(name, "float32", reason)

    def _why_slow(self, start: CandidateResult) -> str:
        """Why the original is kept, from what was measured."""
        slow = [c for c in self.candidates if c.speed is not None and self._too_slow(c.speed)]
        fastest = max(slow, key=lambda candidate: candidate.ratio, default=start)
        work = sum(layer.multiply_adds for layer in self.evaluator.layers.values())
        conversions = self.evaluator.graph_stats(start.config).conversions
        nodes = f" in {conversions} nodes" if conversions > 0 else ""
        return (
            f"speed: {fastest.change}: {fastest.verdict}, the fastest of {len(slow)} tried; the network is "
            f"small ({work:,} multiply-adds), and conversions to integers and back{nodes} cost more time "
            "than integers save"
        )

    def _trim(self) -> None:
        """Tries small layers in float32, each against the best so far.

        Between layers in integers one in float32 would add two conversions, so those are not tried.
        """
        best = self.best
        if best is None:
            return
        order, edges = self._by_work(best.config), self.evaluator.graph_stats(best.config).edges
        most = _SMALL_SHARE * sum(self._work(name) for name in order)
        small = [n for n in reversed(order) if self._work(n) <= most and n in edges][:_MAX_TRIMMED]
        for index, name in enumerate(small):
            self.progress("trying small layers in float32", index, len(small))
            reason = f"for speed: faster than as {best.config.layers[name].precision}"
            config = best.config.with_precision(name, "float32", reason)
            if config.is_float or not self._is_faster(config, best.config):
                continue
            candidate = self._try(config, f"layer {self._titles([name])} in float32, too", speed_first=True)
            if candidate.accepted:
                self.best = best = candidate

    def _is_faster(self, config: QuantConfig, baseline: QuantConfig) -> bool:
        """Measures twice, in either order: of many layers that make no difference, one seems to by chance."""
        if self.evaluator.speed(config, baseline).low <= _MIN_GAIN:
            return False
        return self.evaluator.speed(baseline, config).high < 1 / _MIN_GAIN

    def _store_halves(self) -> None:
        """Stores the weights of what is in float32 in 16 bits."""
        config = start = self.best.config if self.best is not None else self.original
        for name, plan in start.layers.items():
            if plan.precision == "float32":
                half = self.evaluator.layers[name].half
                reason = f"{plan.reason}; " if plan.reason else ""
                config = config.with_precision(name, half, f"{reason}half the bytes, computed in float32")
        if config is not start:
            self._try(config, "layers in float32 stored in 16 bits")

    def _by_work(self, config: QuantConfig) -> list[str]:
        """Quantized layers, the one with the most multiply-adds first."""
        return sorted(config.reduced, key=lambda name: -self._work(name))

    def _work(self, name: str) -> int:
        return self.evaluator.layers[name].multiply_adds

    def _titles(self, names: Iterable[str]) -> str:
        return first_names([self.evaluator.layers[name].title for name in names], 3)


def _with_promotions(config: QuantConfig, promotions: Iterable[Promotion]) -> QuantConfig:
    for promotion in promotions:
        reason = f"for accuracy: alone it adds {promotion.gain:.2g} to the KL divergence from the original"
        config = config.with_precision(promotion.layer, promotion.precision, reason)
    return config


def _subsets(order: list[str], layers: Mapping[str, LayerInfo]) -> Iterable[list[str]]:
    """Subsets of the layers that can be faster in integers than all of them."""
    convolutions = [name for name in order if layers[name].op == "Conv"]
    if 0 < len(convolutions) < len(order):
        yield convolutions
        yield [name for name in order if name not in convolutions]
    count = len(order) // 2
    while count:
        yield order[:count]
        count //= 2
