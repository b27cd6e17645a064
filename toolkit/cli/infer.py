"""``cnntk infer``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import batched
from typing import TYPE_CHECKING, Any

import click

from cnntk.cli.output import json_option, note, print_json, print_table
