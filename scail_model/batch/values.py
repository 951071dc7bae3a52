"""A value of a manifest in the kind that a workflow has in its place: cells of a table are texts, and a page writes
1.0 as 1."""

from __future__ import annotations

import math
import re
from typing import Any

_WHOLE = ("seed", "noise_seed", "width", "height", "length", "steps", "batch_size", "start_frame", "segment_length",
          "overlap")
_SEEDS = ("seed", "noise_seed")
_CUT = re.compile(r"[0-9]+[.,][0-9]+E\+[0-9]+", re.IGNORECASE)
_TRUTHS = {"true": True, "false": False}
_LONGEST = 100  # letters of a value in a sentence; paths may be as long
_HIGHEST_SEED = 0xFFFFFFFFFFFFFFFF  # of every ComfyUI node


def fitting(address: str, name: str, old: Any, value: Any) -> Any:
    """`value` in the kind of `old`; name: of the input. ValueError for one that does not fit."""
    if isinstance(value, list | dict):
        raise ValueError(f"{address} is a {'list' if isinstance(value, list) else 'mapping'}, but it must be a plain "
                         "value: connections are made in the workflow.")
    if isinstance(old, bool):
        return _truth(address, value)
    if isinstance(old, int | float):
        return _number(address, name, old, value)
    if isinstance(old, str) and isinstance(value, bool | float):
        raise ValueError(f"{address} is {value!r}, but the workflow has a text there: put it into quotes.")
    return str(value) if isinstance(old, str) else value


def brief(text: str) -> str:
    """A text as a sentence can hold it."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _truth(address: str, value: Any) -> bool:
    truth = value if isinstance(value, bool) else _TRUTHS.get(str(value).lower())
    if truth is None:
        raise ValueError(f"{address} is {_shown(value)}, but it must be true or false: write one of them.")
    return truth


def _number(address: str, name: str, old: float, value: Any) -> float:
    number = value
    if isinstance(value, str) and name in _SEEDS and _CUT.fullmatch(value):
        raise ValueError(f"{address} is {value}, of which a spreadsheet keeps the first digits only: write all of "
                         "them, in a column of texts.")
    if isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            try:
                number = float(value)
            except ValueError:
                comma = ", with a point for the fraction" if value.replace(",", "", 1).isdigit() else ""
                raise ValueError(f'{address} is "{value}", but it must be a number: write digits{comma}.') from None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(f"{address} is {_shown(value)}, but it must be a number: write digits.")
    if isinstance(number, float) and number.is_integer() and isinstance(old, int):
        number = int(number)
    if name in _WHOLE and isinstance(number, float):
        raise ValueError(f"{address} is {number:g}, but it must be a whole number: round it.")
    if name in _SEEDS and not 0 <= number <= _HIGHEST_SEED:
        raise ValueError(f"{address} is {brief(str(value))}, but a seed is a whole number from 0 to {_HIGHEST_SEED}: "
                         "correct it.")
    return float(number) if isinstance(old, float) else number


def _shown(value: Any) -> str:
    return f'"{brief(value)}"' if isinstance(value, str) else f"{value!r}"
