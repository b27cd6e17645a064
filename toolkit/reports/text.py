"""From templates to pages and SVG files that need no other file."""

from __future__ import annotations

from typing import Any

from cnntk.reports.figure import COLORS
from cnntk.runtime.errors import MissingDependency
from cnntk.runtime.inert import inert

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """A template of this package with values, all text in them escaped and inert.

    Raises:
        MissingDependency: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as missing:
        raise MissingDependency(
            "pages and SVG files need jinja2, which is not installed; run: pip install 'cnntk[reports]'"
        ) from missing
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cnntk.reports", package_path=""),
        autoescape=True,
        finalize=_inert,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["colors"] = COLORS
    environment.filters["pixels"] = lambda coordinate: f"{round(coordinate, 1):g}"
    return environment.get_template(template).render(**values)


def _inert(value: Any) -> Any:
    """Plain text as inert text; what a macro has made stays."""
    return inert(value) if type(value) is str else value
