"""``cnntk inspect``."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.output import json_option, note, print_json, print_table, size_text

if TYPE_CHECKING:
    from cnntk.runtime.artifact.spec import Layer, ModelSpec, TensorSpec
    from cnntk.verification.inspection import Inspection


@click.command()
@click.argument("model", required=False)
@json_option
def inspect(model: str | None, as_json: bool) -> None:
    """Show the layers, shapes, memory, head, preprocessing, proof and oddities of MODEL."""
    from cnntk.shipped.model_choice import pick_model
    from cnntk.verification.inspection import inspect as look

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
        *_data_rows(found.spec),
        *(("input", _tensor(t)) for t in found.inputs),
        *(("output", _tensor(t)) for t in found.outputs),
        *(_spec_rows(found.spec) if found.spec else ()),
        *(_size_rows(found) if found.layers else ()),
        *_memory_rows(found),
        *(_check_rows(found.spec) if found.spec else ()),
        *_lines("warnings", found.warnings),
    ]
    print_table(rows)
    if found.layers:
        print()
        _print_layers(found.layers)


def _data_rows(spec: ModelSpec | None) -> list[tuple[str, str]]:
    if spec is None or spec.data is None:
        return []
    return [("weights", f"{spec.data.file} ({size_text(spec.data.size_bytes)}), beside it")]


def _size_rows(found: Inspection) -> list[tuple[str, str]]:
    return [
        ("parameters", f"{found.parameters:,}"),
        ("multiply-adds", f"{found.multiply_adds:,} an image"),
    ]


def _print_layers(layers: tuple[Layer, ...]) -> None:
    """Memory and field are not in artifacts of older versions: their columns are left out there."""
    columns = [
        ("layer", [x.name for x in layers]),
        ("op", [x.op for x in layers]),
        ("output", [_dims(x.shape) for x in layers]),
        ("parameters", [f"{x.parameters:,}" for x in layers]),
        ("multiply-adds", [f"{x.multiply_adds:,}" for x in layers]),
        ("memory", [size_text(x.activation_bytes) if x.activation_bytes else "" for x in layers]),
        ("field", [str(x.receptive_field or "") for x in layers]),
    ]
    kept = [(title, cells) for title, cells in columns if any(cells)]
    rows = zip(*(cells for _, cells in kept), strict=True)
    print_table(rows, header=[title for title, _ in kept], right=range(3, len(kept)))


def _spec_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    from cnntk.runtime.artifact.spec import IMAGE

    rows = [("name", spec.name), ("head", spec.head)]
    if spec.labels:
        more = f", ... ({len(spec.labels)})" if len(spec.labels) > 10 else ""
        rows.append(("labels", ", ".join(spec.labels[:10]) + more))
    if (p := spec.preprocessing) is not None:
        where = "in the graph" if any(t.name == IMAGE for t in spec.inputs) else "on the host"
        steps = f"{p.color}, {p.resize} to {p.height}x{p.width} {p.interpolation}"
        rows.append(("preprocessing", f"{where}: {steps}"))
        rows.append(("", f"invert {p.invert}, mean {_numbers(p.mean)}, std {_numbers(p.std)}"))
    provenance = ", ".join(f"{k} {v}" for k, v in spec.provenance.items())
    return rows + _lines("provenance", [provenance] if provenance else [])


def _memory_rows(found: Inspection) -> list[tuple[str, str]]:
    rows = []
    if (peak := found.peak_activation_bytes) is not None:
        where = found.anatomy.get("peak_layer")
        rows.append(
            ("activations", f"{size_text(peak)} at most, an image" + (f", at {where}" if where else ""))
        )
    fields = [layer.receptive_field for layer in found.layers if layer.receptive_field]
    if fields:
        rows.append(("receptive field", f"{max(fields)} pixels"))
    return rows


def _check_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    """The results of the export's checks that this version can show."""
    results = spec.check_results
    checks = [f"{c['name']}: {c['detail']}" for c in results.get("checks", ()) if c["name"] != "parity"]
    cases = len(spec.self_test.cases) if spec.self_test is not None else 0
    return [
        *_lines("quantized", tuple(_quantized(spec.quantization or {}))),
        *_lines("repaired", results.get("repaired", ())),
        *_lines("proved", checks),
        *_parity_rows(results.get("parity", ())),
        *([("self-test", f"{cases} cases in the file")] if cases else []),
        *([("SHA-256", spec.digest)] if spec.digest else []),
    ]


def _quantized(record: dict[str, Any]) -> Iterator[str]:
    """How it was quantized, what that cost and won, of what this version knows."""
    kinds = Counter(layer["kind"] for layer in record.get("recipe", {}).get("layers", {}).values())
    if kinds:
        yield ", ".join(f"{count} layers {kind}" for kind, count in sorted(kinds.items()))
    accuracy, speed = record.get("accuracy") or {}, record.get("speed") or {}
    if accuracy.get("drop") is not None:
        yield (
            f"drop in top-1 {accuracy['drop']:.2f} points ({accuracy['drop_low']:.2f} to "
            f"{accuracy['drop_high']:.2f}) on {accuracy['images']:,} images"
        )
    if speed:
        yield (
            f"{speed['ratio']:.2f} times as fast ({speed['low']:.2f} to {speed['high']:.2f}) on "
            f"{speed['machine']}"
        )
    if "holds_on" in record:
        yield f"holds on {record['holds_on']}"


def _parity_rows(parity: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """For each output the kind of input that used most of what is allowed."""
    rows = []
    for output in dict.fromkeys(p["output"] for p in parity):
        kinds = [p for p in parity if p["output"] == output]
        worst = max(kinds, key=lambda p: p["onnx_error"] / p["bound"])
        where = f" ({worst['kind']}, the worst of {len(kinds)} kinds of input)" if "kind" in worst else ""
        figures = f"{worst['onnx_error']:.2g} from float64, allowed {worst['bound']:.2g}"
        rows.append((f"parity of {output}", figures + where))
    return rows


def _lines(title: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """The title stands beside the first line; long ones are wrapped."""
    lines = [line for text in texts for line in textwrap.wrap(text, 78, subsequent_indent="  ")]
    return [(title if i == 0 else "", line) for i, line in enumerate(lines)]


def _tensor(t: TensorSpec) -> str:
    return f"{t.name}: {t.dtype} {_dims(t.shape)}"


def _dims(shape: tuple[int | str, ...]) -> str:
    """``Nx6x28x28``, ``2Nx64``."""
    return "x".join(str(d).replace("*", "") for d in shape)


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{v:.4g}" for v in values)
