"""From a template to a page that needs nothing from outside."""

from __future__ import annotations

from typing import Any

from cnntk.reports import text
from cnntk.reports.colors import COLORS
from cnntk.runtime.errors import MissingDependency

__all__ = ["rendered"]


def rendered(template: str, **values: Any) -> str:
    """A template of this package with values, all text in them escaped.

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
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,
    )
    environment.globals["colors"] = COLORS
    environment.filters.update(
        amount=text.amount,
        bytes=text.bytes_text,
        count=text.count,
        dims=text.dims,
        error=text.error,
        percent=text.percent,
        place=text.place,
        short=text.short,
    )
    return environment.get_template(template).render(**values)
