"""The runtime's logger. It prints nothing unless the app configures logging."""

from __future__ import annotations

import logging

__all__ = ["log"]

log = logging.getLogger("cnntk.runtime")
log.addHandler(logging.NullHandler())
