"""`search`: the fastest or smallest recipe that holds the bound; never a slower model than the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from cnntk.benchmark.compare import Comparison
from cnntk.quantization.accuracy import Accuracy
from cnntk.quantization.candidates import Built, LayerFacts
from cnntk.quantization.config import Kind, Recipe
from cnntk.quantization.ranking import Move, Ranking, rank
from cnntk.quantization.result import Goal, Refinement, SearchResult, Step
from cnntk.runtime.errors import ArtifactError, InferenceError

__all__ = ["SLOWEST", "first_recipe", "search"]

Progress = Callable[[str, int, int], None]

SLOWEST = 0.98
"""How low the interval of a speed ratio may reach: a busy machine can't tell less from equal."""

_TAKEN_AGAIN = 4
"""Layers that were given back and are tried in integers once more."""

_SUSPECTS = 6
"""Layers that are tried in float32 at the end, those with the least work first."""

_CLOSER = 0.95
"""What is left of the divergence where a refinement is kept; less may be chance."""

_FASTER = 1.005
"""What a layer in float32 must win of the whole's time."""

_SMALL_SHARE = 0.1
"""Of the work in integers, above which a layer is no suspect."""


class Bench(Protocol):
    """What a search asks of a `Workbench`."""

    @property
    def facts(self) -> dict[str, LayerFacts]:
        """Of the linear layers, by node."""
        ...

    def accuracy(self, recipe: Recipe) -> Accuracy:
        """Beside the original."""
        ...

    def divergence(self, recipe: Recipe) -> float:
        """From the original, in nats."""
        ...

    def race(self, recipe: Recipe) -> Comparison:
        """Against the original."""
        ...

    def race_between(self, first: Recipe, second: Recipe) -> Comparison:
        """Of two candidates."""
        ...

    def built(self, recipe: Recipe) -> Built:
        """Size and conversions."""
        ...

    @property
    def can_equalize(self) -> bool:
        """Whether there is an equalized form to try."""
        ...


def search(
    bench: Bench, recipe: Recipe, goal: Goal | None = None, *, progress: Progress | None = None
) -> SearchResult:
    """Looks for the best recipe, beginning with one that quantizes as much as may be.

    0. Corrected biases and equalized channels, each kept where it brings the answers closer.
    1. The whole recipe. If its answers are too much worse, layers get their precision back in the order of
       what they cost, as few as are needed: found by halving, so that few candidates are built. Those among
       them with the most work are then tried in integers once more.
    2. If it is then no faster than the original: with only the larger half of the layers in integers, a
       quarter, ... down to one; the fastest that holds.
    3. Convolutions that the recipe leaves in float32, in integers: where that is faster, it stays so.
    4. Small layers, each in float32: where that is faster, it stays so.

    With ``prefer="size"`` only the first is done, and layers that the recipe keeps for their speed are
    quantized, too; what then is left in float32 is stored in 16 bits. Ctrl-C ends it with the best so far,
    if there is one.

    Args:
        bench: that builds and measures, like `Workbench`.
        recipe: to begin with.
        goal: what is looked for.
        progress: is told what is done, how much of it, and of how much.

    Raises:
        KeyboardInterrupt: before anything was found.
    """
    run = _Search(bench, goal or Goal(), progress or (lambda *_: None))
    try:
        run.go(recipe)
    except KeyboardInterrupt:
        if run.best is None:
            raise
        return run.result(interrupted=True)
    return run.result()


def first_recipe(recipe: Recipe, facts: Mapping[str, LayerFacts], goal: Goal) -> Recipe:
    """What a search begins with: the recipe, or more, so that what integers bring is measured, not foreseen.

    Where the recipe quantizes nothing, all layers are tried in 8 bits; where size is preferred, fully
    connected ones in 4, but for the last, whose errors go straight into the answers.
    """
    if goal.prefer == "speed" and not recipe.is_float:
        return recipe
    last = next(reversed(tuple(recipe.layers)), "")
    for name, layer in recipe.layers.items():
        small = goal.prefer == "size" and name != last and facts[name].op != "Conv"
        kind: Kind = "int4" if small else "int8"
        if layer.kind not in (kind, "int4"):
            recipe = recipe.with_kind(name, kind, "for its size" if goal.prefer == "size" else "to see")
    return recipe


@dataclass
class _Search:
    """A search as it goes.

    Attributes:
        best: of what holds; None while nothing does.
        float32: the recipe with nothing in integers, and why for each layer.
    """

    bench: Bench
    goal: Goal
    progress: Progress
    path: list[Step] = field(default_factory=list)
    ranking: Ranking | None = None
    best: Step | None = None
    float32: Recipe = field(default_factory=lambda: Recipe({}))
    why: str = ""
    refinements: list[Refinement] = field(default_factory=list)

    def go(self, recipe: Recipe) -> None:
        self.float32 = _all_float(recipe)
        start, change = self._start(recipe)
        if start.is_float:
            self.why = "no layer of it can be computed in integers"
            return
        step = self._tried(self._refined(start), change)
        if not self._is_accurate(step):
            step = self._given_back(step)
        if self.goal.prefer == "size":
            self._halve()
            return
        if step.recipe.is_float:
            return
        if not step.holds:
            self._fewer_layers(step)
        self._extend(recipe)
        self._trim()

    def result(self, *, interrupted: bool = False) -> SearchResult:
        found = tuple(self.path)
        if self.best is None:
            return SearchResult(
                None, self.why, found, self.ranking, self.float32, interrupted, tuple(self.refinements)
            )
        what = "smallest" if self.goal.prefer == "size" else "fastest"
        held = sum(step.holds for step in found)
        reason = f"the {what} of {held} that hold, of {len(found)} tried"
        reason = reason if len(found) > 1 else f"{self.best.change}, at the first try"
        return SearchResult(
            self.best, reason, found, self.ranking, self.best.recipe, interrupted, tuple(self.refinements)
        )

    def _start(self, recipe: Recipe) -> tuple[Recipe, str]:
        """What to begin with, less what has no kernel."""
        first = first_recipe(recipe, self.bench.facts, self.goal)
        change = "all that the plan quantizes" if first == recipe else "all layers"
        for name in self.bench.built(first).refused if not first.is_float else ():
            reason = "there is no kernel for it in integers"
            first = first.with_kind(name, "float32", reason)
            self.float32 = self.float32.with_kind(name, "float32", reason)
        return first, change

    def _refined(self, recipe: Recipe) -> Recipe:
        """With what brings the answers closer to the original's at no cost in speed."""
        offered = [("biases corrected", replace(recipe, corrected=True))]
        if self.bench.can_equalize:
            offered.append(("channels equalized", replace(recipe, equalized=True)))
            offered.append(("both", replace(recipe, corrected=True, equalized=True)))
        try:
            before = least = self.bench.divergence(recipe)
            for done, (what, other) in enumerate(offered):
                self.progress("refining", done, len(offered))
                found = self.bench.divergence(other)
                kept = found < _CLOSER * least
                if kept:
                    recipe, least = other, found
                self.refinements.append(Refinement(what, before, found, kept))
        except (ArtifactError, InferenceError):
            pass  # that it can't be run is found, and told, when it is tried
        return recipe

    def _tried(self, recipe: Recipe, change: str, *, speed_first: bool = False) -> Step:
        """Measures a candidate, and keeps it if it is the best so far."""
        self.progress(f"trying {change}", len(self.path), 0)
        race, size = None, 0
        try:
            size = self.bench.built(recipe).size_bytes
            race = self.bench.race(recipe) if speed_first else None
            slow = self._too_slow(race)
            accuracy = None if slow else self.bench.accuracy(recipe)
            race = race or self.bench.race(recipe)
            verdict = slow or self._too_inaccurate(accuracy) or self._too_slow(race) or "holds"
        except (ArtifactError, InferenceError) as error:
            accuracy, verdict = None, f"can't be run: {error}"
        step = Step(change, recipe, size, race, accuracy, verdict)
        self.path.append(step)
        if step.holds and self._better(step):
            self.best = step
        return step

    def _better(self, step: Step) -> bool:
        if self.best is None:
            return True
        if self.goal.prefer == "size":
            return step.size_bytes < self.best.size_bytes
        return _ratio(step) > _ratio(self.best)

    def _too_inaccurate(self, accuracy: Accuracy | None) -> str:
        if accuracy is None or accuracy.within(self.goal.max_drop):
            return ""
        what = "flips cost" if accuracy.drop is None else "drops by"
        return f"{what} {accuracy.cost:.2f} points, {self.goal.max_drop:g} allowed"

    def _too_slow(self, race: Comparison | None) -> str:
        if race is None or self.goal.prefer == "size" or (race.ratio >= 1 and race.low >= SLOWEST):
            return ""
        return f"{race.ratio:.2f} times as fast ({race.low:.2f} to {race.high:.2f})"

    def _given_back(self, start: Step) -> Step:
        """As few moves back to precision as hold the bound; the last of all leaves the original."""
        self.ranking = rank(self.bench, start.recipe, self.progress)
        moves = self.ranking.moves
        fails, holds, found = 0, len(moves), None
        while holds - fails > 1:
            middle = (fails + holds) // 2
            step = self._tried(
                self._after(start.recipe, moves[:middle]), _change(moves[:middle], self.bench.facts)
            )
            if self._is_accurate(step):
                found, holds = step, middle
            else:
                fails = middle
        if found is not None:
            return self._taken_again(start.recipe, moves[:holds], found)
        last = self.path[-1]
        self.why = f"accuracy: {last.change}: {last.verdict}; with more in float32 nothing is left"
        self.float32 = self._after(start.recipe, moves)
        return replace(start, recipe=self.float32)

    def _taken_again(self, start: Recipe, moves: tuple[Move, ...], found: Step) -> Step:
        """Moves that were not needed, but came before one that was; the last is known to be needed."""
        kept = moves
        order = sorted(moves[:-1], key=lambda move: -self._work(move.layer))
        for move in [m for m in order if _is_last_word(m, moves)][:_TAKEN_AGAIN]:
            fewer = tuple(m for m in kept if m is not move)
            step = self._tried(self._after(start, fewer), _change(fewer, self.bench.facts))
            if self._is_accurate(step) and (self.goal.prefer == "size" or _ratio(step) > _ratio(found)):
                found, kept = step, fewer
        return found

    def _is_accurate(self, step: Step) -> bool:
        return step.accuracy is not None and step.accuracy.within(self.goal.max_drop)

    def _after(self, recipe: Recipe, moves: Iterable[Move]) -> Recipe:
        for move in moves:
            reason = f"for accuracy: alone it costs {move.gain:.2g} nats"
            recipe = recipe.with_kind(move.layer, move.kind, reason)
        return recipe

    def _fewer_layers(self, start: Step) -> None:
        """Only the layers with the most work in integers, by halves, each kind alone where there are two."""
        order = self._by_work(start.recipe)
        seen = {frozenset(order)}
        for names in _subsets(order, self.bench.facts):
            if frozenset(names) in seen:
                continue
            seen.add(frozenset(names))
            recipe = start.recipe
            for name in set(order) - set(names):
                recipe = recipe.with_kind(name, "float32", "for speed: converting to integers costs more")
            self._tried(
                recipe,
                f"only layer{'s' * (len(names) > 1)} {self._named(names)} in integers",
                speed_first=True,
            )
        if self.best is None:
            self.why, reason = self._why_slow(start), "for speed: integers were no faster here"
            for name in order:
                self.float32 = self.float32.with_kind(name, "float32", reason)

    def _why_slow(self, start: Step) -> str:
        """Why the model stays as it was, from what was measured."""
        slowest = [s for s in self.path if s.race is not None and self._too_slow(s.race)]
        fastest = max(slowest, key=_ratio, default=start)
        work = sum(fact.multiply_adds for fact in self.bench.facts.values())
        more = self.bench.built(start.recipe).conversions
        return (
            f"speed: {fastest.change} is {fastest.verdict}, the best of {len(slowest)} tried; for "
            f"{work:,} multiply-adds the {more} nodes that convert to integers and back take longer than "
            "integers win"
        )

    def _extend(self, plan: Recipe) -> None:
        """Convolutions that the plan left in float32: between integers they may cost more than they save."""
        best, facts = self.best, self.bench.facts
        if best is None:
            return
        names = [
            name
            for name, layer in plan.layers.items()
            if layer.kind == best.recipe.layers[name].kind == "float32" and facts[name].op == "Conv"
        ]
        recipe = best.recipe
        for name in names:
            recipe = recipe.with_kind(name, "int8", "for speed: faster so than in float32")
        if not names or self.bench.built(recipe).refused or not self._is_faster(recipe, best.recipe):
            return
        step = self._tried(recipe, f"layer{'s' * (len(names) > 1)} {self._named(names)} in int8, too")
        if step.holds:
            self.best = step

    def _trim(self) -> None:
        """Layers that are faster in float32 than in integers, each tried beside the best so far."""
        best = self.best
        if best is None:
            return
        order = self._by_work(best.recipe)
        work = sum(self._work(name) for name in order)
        suspects = [n for n in reversed(order) if self._work(n) <= _SMALL_SHARE * work][:_SUSPECTS]
        for done, name in enumerate(suspects):
            self.progress("trying small layers in float32", done, len(suspects))
            kind = best.recipe.layers[name].kind
            recipe = best.recipe.with_kind(name, "float32", f"for speed: faster so than as {kind}")
            if recipe.is_float or not self._is_faster(recipe, best.recipe):
                continue
            step = self._tried(recipe, f"layer {self._named([name])} in float32, too", speed_first=True)
            if step.holds:
                self.best = best = step

    def _is_faster(self, recipe: Recipe, than: Recipe) -> bool:
        """Measured twice, in either order: of many layers that make no difference, one seems to by chance."""
        if self.bench.race_between(than, recipe).low <= _FASTER:
            return False
        return self.bench.race_between(recipe, than).high < 1 / _FASTER

    def _halve(self) -> None:
        """The weights of what is left in float32, in 16 bits."""
        recipe = start = self.best.recipe if self.best is not None else self.float32
        for name, layer in start.layers.items():
            if layer.kind == "float32":
                half = self.bench.facts[name].half
                why = f"{layer.reason}; " if layer.reason else ""
                recipe = recipe.with_kind(name, half, f"{why}half the bytes, computed in float32")
        if recipe is not start:
            self._tried(recipe, "what is left in float32 stored in 16 bits")

    def _by_work(self, recipe: Recipe) -> list[str]:
        """Quantized layers, the one with the most multiply-adds first."""
        names = [name for name, layer in recipe.layers.items() if layer.kind != "float32"]
        return sorted(names, key=lambda name: -self._work(name))

    def _work(self, name: str) -> int:
        return self.bench.facts[name].multiply_adds

    def _named(self, names: Iterable[str]) -> str:
        return _few([self.bench.facts[name].title for name in names])


def _all_float(recipe: Recipe) -> Recipe:
    for name, layer in recipe.layers.items():
        if layer.kind != "float32":
            recipe = recipe.with_kind(name, "float32", "")
    return recipe


def _subsets(order: list[str], facts: dict[str, LayerFacts]) -> Iterable[list[str]]:
    """Parts of the layers that may be faster in integers than all of them."""
    convolutions = [name for name in order if facts[name].op == "Conv"]
    if 0 < len(convolutions) < len(order):
        yield convolutions
        yield [name for name in order if name not in convolutions]
    count = len(order) // 2
    while count:
        yield order[:count]
        count //= 2


def _ratio(step: Step) -> float:
    return step.race.ratio if step.race is not None else 0.0


def _change(moves: Iterable[Move], facts: dict[str, LayerFacts]) -> str:
    """What the moves leave each layer at, the last word on each."""
    final = {move.layer: move.kind for move in moves}
    kinds = dict.fromkeys(final.values())
    told = [f"{_few([facts[n].title for n, k in final.items() if k == kind])} in {kind}" for kind in kinds]
    return f"layer{'s' * (len(final) > 1)} {', '.join(told)}"


def _is_last_word(move: Move, moves: Iterable[Move]) -> bool:
    """Whether no later move concerns the same layer."""
    return [m for m in moves if m.layer == move.layer][-1] is move


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
