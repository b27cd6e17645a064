"""The runtime's logger: apps hear it where they set logging up, and nothing is printed where they don't."""

from __future__ import annotations

import logging

__all__ = ["log"]

log = logging.getLogger("cnntk.runtime")
log.addHandler(logging.NullHandler())
