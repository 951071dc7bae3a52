"""Rows of the command line: flags of `scail2 generate` as a manifest gives them, and the words of its command line.

What the tables say of the flags is held against the parser by a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .manifest import Row

FILES = frozenset((
    "--image", "--mask_image", "--pose", "--mask_video", "--additional_ref_image", "--additional_image",
    "--additional_ref_mask_image", "--additional_mask_image", "--plan_image", "--plan_mask_image", "--face_mask",
    "--plate_mask"))
FOLDERS = frozenset(("--plate_mask", "--face_mask"))  # may be folders, with a picture for each frame
MODELS = frozenset(("--ckpt_dir", "--scail_path", "--lora_path"))
LISTS = frozenset((
    "--additional_ref_image", "--additional_image", "--additional_ref_mask_image", "--additional_mask_image",
    "--plan_image", "--plan_mask_image", "--lora_path", "--lora_alpha"))
SWITCHES = frozenset(("--whole_picture", "--replace_flag", "--keep_reference_background", "--face_pass", "--draft"))
OF_THE_BATCH = frozenset(("--save_file", "--job_dir", "--overwrite", "--gpus", "--json", "--preview", "--help"))
WHOLE = frozenset((
    "--base_seed", "--remake_seed", "--crop_to_person", "--target_w", "--target_h", "--segment_len",
    "--segment_overlap", "--sample_steps", "--quality", "--plate_grow", "--plate_feather"))
_PLAN = "--plan"
_POINT_ZERO = re.compile(r"[0-9]+\.0+")  # as pandas writes whole numbers of a column that has empty cells too
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def values_of(row: Row, *, smaller: bool = False) -> dict[str, Any]:
    """By flag; lists where a flag takes several, true and false for switches. ValueError for a text that is neither."""
    values = {**row.values, **(row.smaller if smaller else {})}
    return {flag: _typed(flag, value) for flag, value in values.items()}


def words(row: Row, *, smaller: bool = False) -> list[str]:
    """The arguments of `scail2 generate` for a row, with absolute paths; without those that a batch gives itself."""
    found: list[str] = []
    for flag, value in values_of(row, smaller=smaller).items():
        if flag in SWITCHES:
            found += [flag] * value
        elif isinstance(value, list):
            found += [flag, *(_word(row.base, flag, one) for one in value)]
        else:
            found.append(f"{flag}={_word(row.base, flag, value)}")
    return found


def paths_of(row: Row, values: Mapping[str, Any], flags: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """(flag, absolute path) of every value of some flags that take paths."""
    for flag, value in values.items():
        if flag in flags or (flag == _PLAN and flags is FILES and str(value).endswith(".json")):
            yield from ((flag, row.base / str(one)) for one in (value if isinstance(value, list) else [value]))


def _typed(flag: str, value: Any) -> Any:
    if flag in SWITCHES and not isinstance(value, bool):
        if str(value).lower() not in _TRUTHS:
            raise ValueError(f"{flag} is {value!r}, but it is a switch: write true or false.")
        return _TRUTHS[str(value).lower()]
    if flag in LISTS and isinstance(value, str) and value.startswith("["):  # as a cell of a CSV file has it
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f'{flag} is {value}, which is not a list ({error.msg}): write ["one", "two"].') from error
    if flag in WHOLE and not isinstance(value, bool) and _POINT_ZERO.fullmatch(str(value)):
        return int(float(value))
    return [value] if flag in LISTS and not isinstance(value, list) else value


def _word(base: Path, flag: str, value: Any) -> str:
    path = flag in FILES or flag in MODELS or (flag == _PLAN and str(value).endswith(".json"))
    return str(base / str(value)) if path else str(value).lower() if isinstance(value, bool) else str(value)
