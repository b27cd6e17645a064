"""``cnntk inspect``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.output import json_option, note, print_json, print_table, size_text

if TYPE_CHECKING:
    from cnntk.inspection import Inspection
    from cnntk.runtime.spec import ModelSpec, TensorSpec


@click.command()
@click.argument("model", required=False)
@json_option
def inspect(model: str | None, as_json: bool) -> None:
    """Show the layers, shapes, head, preprocessing and proof of MODEL."""
    from cnntk.inspection import inspect as look
    from cnntk.picking import pick_model

    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    found = look(picked.path)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)
    for text in found.notes:
        note(f"note: {text}")


def _print(found: Inspection) -> None:
    rows = [
        ("file", f"{found.path} ({size_text(found.size_bytes)})"),
        *(("input", _tensor(t)) for t in found.inputs),
        *(("output", _tensor(t)) for t in found.outputs),
        *(_spec_rows(found.spec) if found.spec else ()),
        ("parameters", f"{found.parameters:,}"),
        ("multiply-adds", f"{found.multiply_adds:,} an image"),
    ]
    print_table(rows)
    print()
    print_table(
        [(x.name, x.op, _dims(x.shape), f"{x.parameters:,}", f"{x.multiply_adds:,}") for x in found.layers],
        header=("layer", "op", "output", "parameters", "multiply-adds"),
        right=[3, 4],
    )


def _spec_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    rows = [("name", spec.name), ("head", spec.head)]
    if spec.labels:
        more = f", ... ({len(spec.labels)})" if len(spec.labels) > 10 else ""
        rows.append(("labels", ", ".join(spec.labels[:10]) + more))
    if (p := spec.preprocessing) is not None:
        rows.append(("preprocessing", f"{p.color}, {p.resize} to {p.height}x{p.width} {p.interpolation}"))
        rows.append(("", f"invert {p.invert}, mean {_numbers(p.mean)}, std {_numbers(p.std)}"))
    provenance = ", ".join(f"{k} {v}" for k, v in spec.provenance.items())
    rows += [("provenance" if i == 0 else "", line) for i, line in enumerate(textwrap.wrap(provenance, 80))]
    return rows + [_parity_row(p) for p in spec.proof.get("parity", ())]


def _parity_row(p: dict[str, Any]) -> tuple[str, str]:
    return f"parity of {p['output']}", f"{p['onnx_error']:.2g} from float64, allowed {p['bound']:.2g}"


def _tensor(t: TensorSpec) -> str:
    return f"{t.name}: {t.dtype} {_dims(t.shape)}"


def _dims(shape: tuple[int | str, ...]) -> str:
    return "x".join(map(str, shape))


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{v:.4g}" for v in values)
