"""``cnntk verify``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cnntk.cli.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from cnntk.runtime.self_test import AnswerCheck
    from cnntk.verification import Comparison, Verification


@click.command()
@click.argument("model", required=False)
@click.option("--self", "alone", is_flag=True, help="By what the file itself holds; the default.")
@click.option("--against", metavar="X", help="Beside another .onnx, or a source as export takes it.")
@click.option("--weights", metavar="FILE", help="Of a source that has none of its own.")
@click.option("--random", is_flag=True, help="Seeded random weights for such a source.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or auto.")
@json_option
def verify(
    model: str | None,
    alone: bool,
    against: str | None,
    weights: str | None,
    random: bool,
    device: str,
    as_json: bool,
) -> int:
    """Check that MODEL is still the one that was exported.

    Without --against: its SHA-256, the fingerprints of its weights, and its answers to its own inputs.
    """
    from cnntk.picking import pick_model
    from cnntk.verification import verify_against, verify_self

    _check_options(alone, against, weights, random)
    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    if against is None:
        found = verify_self(picked.path, device)
    else:
        if ":" in against:
            sys.path.append(os.getcwd())  # behind the installed packages, so that none of them is shadowed
        found = verify_against(picked.path, against, weights=weights, random=random, device=device)
    if as_json:
        print_json(found.to_json())
    else:
        print_table(list(_rows(found)))
    for text in found.notes:
        note(f"note: {text}")
    return 0 if found.holds else 1


def _check_options(alone: bool, against: str | None, weights: str | None, random: bool) -> None:
    if alone and against is not None:
        raise click.UsageError("--self and --against exclude each other: --against does what --self does too")
    if against is None and (weights or random):
        raise click.UsageError("--weights and --random belong to the source that --against names")


def _rows(found: Verification) -> Iterator[tuple[str, str]]:
    yield "file", found.path
    yield "digest", {"holds": "holds", "differs": "DIFFERS: bytes were changed", "none": "none"}[found.digest]
    if found.fingerprints:
        yield "fingerprints", f"{found.fingerprints} tensors" + (" as exported" if not found.changed else "")
    for change in found.changed[:8]:
        yield "  CHANGED", str(change)
    if found.self_test is not None:
        yield from (_row("self-test", check) for check in found.self_test.worst)
    if found.comparison is not None:
        yield from _comparison_rows(found.comparison)
    if found.damage:
        yield "DAMAGED", found.damage
    yield "verdict", "holds" if found.holds else "DOES NOT HOLD"


def _comparison_rows(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "against", comparison.other
    yield from (_row("answers", check) for check in comparison.worst)
    first = comparison.diverges
    if first is not None:
        yield "first differs", str(first)
    others = [layer.layer for layer in comparison.weights if first is None or layer.layer != first.layer]
    if others:
        yield (
            "weights differ",
            f"of {len(others)} more: {', '.join(others[:8])}{', ...' if others[8:] else ''}",
        )


def _row(title: str, check: AnswerCheck) -> tuple[str, str]:
    verdict = "" if check.holds else "  FAILS"
    text = f"{check.error:.2g} off, allowed {check.bound:.2g} (at {check.case}){verdict}"
    return f"{title}: {check.output}", text
