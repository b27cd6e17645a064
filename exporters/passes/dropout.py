"""Dropout goes: nodes, and masks that were written by hand.

Dropout multiplies by a mask B, 1 with chance 1 - p and 0 otherwise, and divides by 1 - p::

    h' = h * B / (1 - p),    E(h') = h * (1 - p) / (1 - p) = h

so that h stands for h' at inference: the same in expectation, and nothing is random. That holds for every
mask whose mean, times all scales on its way, is 1; and for no other, which is why a mask without its 1 / (1
- p), or with one that does not fit its p, is left and said. Alpha dropout keeps the variance and not the
mean: left too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from cnntk.exporters.passes.graph import (
    bypass,
    epsilon,
    is_random,
    label,
    made_by,
    only_user,
    put,
    random_nodes,
    sweep,
    uniform,
)
from cnntk.exporters.passes.infra import Rewrites
from cnntk.exporters.passes.masks import Mask, mask_of

__all__ = ["RemoveDropout"]


@dataclass(frozen=True)
class _Site:
    """``output`` is ``factor`` times ``kept``, times a mask."""

    output: ir.Value
    kept: ir.Value
    mask: Mask
    factor: float

    @property
    def mean(self) -> float:
        return self.factor * self.mask.mean


class RemoveDropout:
    """Replaces what dropout answers by what it was given."""

    name = "dropout"
    reason = "a model must answer the same each time; dropout equals its input in expectation"

    def __call__(self, model: ir.Model) -> Rewrites:
        removal = _Removal(model)
        for node in [n for n in model.graph if n.op_type == "Dropout" and not n.domain]:
            removal.node(node)
        for site, reason in [(s, _entangled(s) or _misfit(s)) for s in map(_widest, _sites(model))]:
            removal.mask(site, reason)
        return removal.rewrites()


class _Removal:
    """Takes dropouts out of a model and keeps the record."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._done: list[str] = []
        self._declined: list[str] = []
        self._replaced: dict[str, str] = {}
        self._stands_for: dict[ir.Value, ir.Value] = {}

    def node(self, node: ir.Node) -> None:
        """A Dropout node."""
        kept = node.inputs[0]
        if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]) or kept is None:
            self._declined.append(f"{label(node)}: its mask is read, too")
            return
        random = is_random(node)
        loud = "in TRAINING mode, it would have dropped out at inference: " if random else ""
        self._done.append(f"{label(node)}: {loud}removed")
        self._stand_in(node.outputs[0], self._stands_for.get(kept, kept), differs=random)

    def mask(self, site: _Site, reason: str | None) -> None:
        """A mask that was written by hand; ``reason``: why it stays."""
        if reason is not None:
            self._declined.append(f"{label(site.mask.node)}: the mask of {site.output.name} {reason}")
            return
        kept = self._stands_for.get(site.kept, site.kept)
        self._done.append(
            f"{site.output.name}: random mask that keeps {site.mask.keep:.4g}; {kept.name} stands for it"
        )
        self._stand_in(site.output, kept, differs=True)

    def rewrites(self) -> Rewrites:
        """What was done; each random node that is left is named."""
        said = tuple(self._declined)
        left = [n for n in random_nodes(self._model) if not any(s.startswith(f"{label(n)}:") for s in said)]
        unknown = (f"{label(n)}: random, and no dropout of a known form" for n in left)
        return Rewrites(tuple(self._done), (*said, *unknown), self._replaced)

    def _stand_in(self, output: ir.Value, kept: ir.Value, *, differs: bool) -> None:
        self._stands_for[output] = kept
        if differs and output.name and kept.name:
            self._replaced[output.name] = kept.name
        if output.is_graph_output():
            put(output, "Identity", [kept])
        else:
            bypass(output, kept)
        sweep(self._model, output)


def _sites(model: ir.Model) -> Iterator[_Site]:
    """Each product of a mask and something that is neither a mask nor a number."""
    for node in model.graph:
        if node.op_type == "Mul" and not node.domain:
            yield from _product(node)
        elif node.op_type == "Where" and not node.domain:
            yield from _choice(node)


def _product(node: ir.Node) -> Iterator[_Site]:
    for one, other in (node.inputs, reversed(node.inputs)):
        mask = mask_of(one)
        if mask is not None and other is not None and uniform(other) is None:
            yield _Site(node.outputs[0], other, mask, 1.0)
            return


def _choice(node: ir.Node) -> Iterator[_Site]:
    """``Where(B, x, 0)`` is x * B; ``Where(B, 0, x)`` is x * (1 - B)."""
    condition, yes, no = node.inputs
    mask = mask_of(condition)
    if mask is None:
        return
    if uniform(no) == 0 and yes is not None:
        yield _Site(node.outputs[0], yes, mask, 1.0)
    elif uniform(yes) == 0 and no is not None:
        yield _Site(node.outputs[0], no, replace(mask, keep=1 - mask.keep), 1.0)


def _widest(site: _Site) -> _Site:
    """The site with the scales behind and before it, as far as they bring the mean to 1."""
    if _misfit(site) is None:
        return site
    before = _before(site)
    behind = (_behind(s) for s in (site, *before))
    candidates = (*before, *(b for b in behind if b is not None))
    return next((s for s in candidates if _misfit(s) is None), candidates[-1] if candidates else site)


def _behind(site: _Site) -> _Site | None:
    node = only_user(site.output)
    factor = _scale(node, site.output)
    if node is None or factor is None:
        return None
    return replace(site, output=node.outputs[0], factor=site.factor * factor)


def _before(site: _Site) -> list[_Site]:
    node = made_by(site.kept, "Mul", "Div")
    for given in node.inputs if node is not None else ():
        factor = _scale(node, given)
        if given is not None and factor is not None:
            return [replace(site, kept=given, factor=site.factor * factor)]
    return []


def _scale(node: ir.Node | None, given: ir.Value | None) -> float | None:
    """What a node multiplies ``given`` by, where that is all it does."""
    if node is None or node.domain or node.op_type not in ("Mul", "Div") or given is None:
        return None
    first, second = node.inputs
    if node.op_type == "Div":
        divisor = uniform(second) if first is given else None
        return 1 / divisor if divisor else None
    return uniform(second) if first is given else uniform(first)


def _misfit(site: _Site) -> str | None:
    """Why the kept value does not stand for the masked one; None where it does.

    The chance to keep is known to the rounding of p, so the mean is known to that over the chance.
    """
    keep, mean = site.mask.keep, site.mean
    if site.mask.offset:
        return (
            f"adds {site.mask.offset:.4g} where it drops: that is no dropout whose mean is its input (alpha "
            "dropout keeps the variance); call it with training=self.training"
        )
    tolerance = min(0.05, 4 * epsilon(site.kept.dtype) / max(keep, 1e-9))
    if abs(mean - 1) <= tolerance:
        return None
    scale = (
        f"is not scaled by 1 / {keep:.4g}"
        if abs(mean - keep) <= tolerance
        else "has a scale that does not fit"
    )
    return f"keeps {keep:.4g} and {scale}: its mean is {mean:.4g} times its input, not 1"


def _entangled(site: _Site) -> str | None:
    """Why a site is refused whose input was masked with the same random numbers: E(B B) is not E(B) E(B)."""
    if _depends(site.kept, site.mask.node):
        return "falls on what depends on the same random numbers"
    return None


def _depends(value: ir.Value, node: ir.Node) -> bool:
    waiting, seen = [value], set[ir.Node]()
    while waiting:
        producer = waiting.pop().producer()
        if producer is node:
            return True
        if producer is not None and producer not in seen:
            seen.add(producer)
            waiting.extend(v for v in producer.inputs if v is not None)
    return False
