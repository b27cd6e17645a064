"""Removes dropout: Dropout nodes, and masks that were written by hand.

Dropout multiplies by a mask B, which is 1 with probability 1 - p and 0 otherwise, and divides by 1 - p::

    h' = h * B / (1 - p),    E(h') = h * (1 - p) / (1 - p) = h

so h replaces h' at inference: equal in expectation, and nothing is random. That holds only for masks whose
mean, times all scales applied to it, is 1. A mask without its 1 / (1 - p), or with a scale that does not
match p, is skipped and reported. So is alpha dropout, which keeps the variance and not the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from cnntk.exporters.passes._masks import Mask, mask_of
from cnntk.exporters.passes.graph import (
    epsilon,
    is_random,
    label,
    only_user,
    producer_of,
    random_nodes,
    remove_unused,
    replace_node,
    replace_uses,
    uniform,
)
from cnntk.exporters.passes.infra import Rewrites


@dataclass(frozen=True)
class _Site:
    """A dropout in the graph: ``output`` is ``factor * source * mask``."""

    output: ir.Value
    source: ir.Value
    mask: Mask
    factor: float = 1.0

    @property
    def mean(self) -> float:
        return self.factor * self.mask.mean


class RemoveDropout:
    """Replaces the output of dropout by its input."""

    name = "dropout"
    reason = "outputs must be the same each time; dropout equals its input in expectation"

    def __call__(self, model: ir.Model) -> Rewrites:
        removal = _Removal(model)
        for node in [n for n in model.graph if n.op_type == "Dropout" and not n.domain]:
            removal.node(node)
        sites = [_widest(site) for node in model.graph if (site := _site(node)) is not None]
        for site, reason in [(s, _shares_mask(s) or _mismatch(s)) for s in sites]:
            removal.mask(site, reason)
        return removal.rewrites()


def deterministic(model: ir.Model) -> ir.Model:
    """A copy without dropout, whose outputs can be compared; ``model`` itself where nothing is random."""
    if not random_nodes(model):
        return model
    copy = model.clone()
    RemoveDropout()(copy)
    return copy


class _Removal:
    """Removes dropouts from a model and records each change."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._applied: list[str] = []
        self._skipped: list[str] = []
        self._substitutions: dict[str, str] = {}
        self._replacements: dict[ir.Value, ir.Value] = {}

    def node(self, node: ir.Node) -> None:
        """Removes a Dropout node."""
        source = node.inputs[0]
        if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]) or source is None:
            self._skipped.append(f"{label(node)}: its mask is used elsewhere")
            return
        random = is_random(node)
        warning = "in TRAINING mode, so random at inference; " if random else ""
        self._applied.append(f"{label(node)}: {warning}removed")
        self._replace(node.outputs[0], self._replacements.get(source, source), differs=random)

    def mask(self, site: _Site, reason: str | None) -> None:
        """Removes a handwritten mask, or skips it where ``reason`` is not None."""
        if reason is not None:
            self._skipped.append(f"{label(site.mask.node)}: the mask of {site.output.name} {reason}")
            return
        source = self._replacements.get(site.source, site.source)
        self._applied.append(
            f"{site.output.name}: random mask with keep probability {site.mask.keep:.4g}, "
            f"replaced by {source.name}"
        )
        self._replace(site.output, source, differs=True)

    def rewrites(self) -> Rewrites:
        """Returns the record; each random node that remains is named in it."""
        skipped = tuple(self._skipped)
        labels = [label(n) for n in random_nodes(self._model)]
        left = [name for name in labels if not any(line.startswith(f"{name}:") for line in skipped)]
        unknown = (f"{name}: random, and not a known form of dropout" for name in left)
        return Rewrites(tuple(self._applied), (*skipped, *unknown), self._substitutions)

    def _replace(self, output: ir.Value, source: ir.Value, *, differs: bool) -> None:
        self._replacements[output] = source
        if differs and output.name and source.name:
            self._substitutions[output.name] = source.name
        if output.is_graph_output():
            replace_node(output, "Identity", [source])
        else:
            replace_uses(output, source)
        remove_unused(self._model, output)


def _site(node: ir.Node) -> _Site | None:
    """Reads a node as the product of a mask and something that is neither a mask nor a number.

    ``Where(B, x, 0)`` is x * B, and ``Where(B, 0, x)`` is x * (1 - B).
    """
    if node.op_type == "Mul" and not node.domain:
        for one, other in (node.inputs, reversed(node.inputs)):
            mask = mask_of(one)
            if mask is not None and other is not None and uniform(other) is None:
                return _Site(node.outputs[0], other, mask)
    elif node.op_type == "Where" and not node.domain:
        condition, yes, no = node.inputs
        mask = mask_of(condition)
        if mask is not None and yes is not None and uniform(no) == 0:
            return _Site(node.outputs[0], yes, mask)
        if mask is not None and no is not None and uniform(yes) == 0:
            return _Site(node.outputs[0], no, replace(mask, keep=1 - mask.keep))
    return None


def _widest(site: _Site) -> _Site:
    """Returns the site extended by the scales before and after it, as far as they bring the mean to 1."""
    if _mismatch(site) is None:
        return site
    before = _before(site)
    after = (_after(s) for s in (site, *before))
    candidates = (*before, *(b for b in after if b is not None))
    return next((s for s in candidates if _mismatch(s) is None), candidates[-1] if candidates else site)


def _after(site: _Site) -> _Site | None:
    node = only_user(site.output)
    factor = _scale(node, site.output)
    if node is None or factor is None:
        return None
    return replace(site, output=node.outputs[0], factor=site.factor * factor)


def _before(site: _Site) -> list[_Site]:
    node = producer_of(site.source, "Mul", "Div")
    for value in node.inputs if node is not None else ():
        factor = _scale(node, value)
        if value is not None and factor is not None:
            return [replace(site, source=value, factor=site.factor * factor)]
    return []


def _scale(node: ir.Node | None, value: ir.Value | None) -> float | None:
    """Returns the factor by which a node multiplies ``value``, where that is all the node does."""
    if node is None or node.domain or node.op_type not in ("Mul", "Div") or value is None:
        return None
    first, second = node.inputs
    if node.op_type == "Div":
        divisor = uniform(second) if first is value else None
        return 1 / divisor if divisor else None
    return uniform(second) if first is value else uniform(first)


def _mismatch(site: _Site) -> str | None:
    """Returns why the input can't replace the masked output; None where it can.

    p is rounded to the output's type, so the keep probability, and with it the mean, is only known to that.
    """
    keep, mean = site.mask.keep, site.mean
    if site.mask.offset:
        return (
            f"adds {site.mask.offset:.4g} to dropped elements, so its mean is not its input (alpha dropout "
            "keeps the variance instead); call it with training=self.training"
        )
    tolerance = min(0.05, 4 * epsilon(site.source.dtype) / max(keep, 1e-9))
    if abs(mean - 1) <= tolerance:
        return None
    scale = f"is not scaled by 1 / {keep:.4g}" if abs(mean - keep) <= tolerance else "has another scale"
    return f"has keep probability {keep:.4g} and {scale}: its mean is {mean:.4g} times its input, not 1"


def _shares_mask(site: _Site) -> str | None:
    """Returns why a site is skipped whose input has the same random mask: E(B B) is not E(B) E(B)."""
    if _depends(site.source, site.mask.node):
        return "is applied to a value that depends on the same random numbers"
    return None


def _depends(value: ir.Value, node: ir.Node) -> bool:
    pending, seen = [value], set[ir.Node]()
    while pending:
        producer = pending.pop().producer()
        if producer is node:
            return True
        if producer is not None and producer not in seen:
            seen.add(producer)
            pending.extend(v for v in producer.inputs if v is not None)
    return False
