"""Rows of a batch that the command line makes: checked as `scail2 check` does, as far as it is quick for hundreds of
them. What needs all frames of videos and masks is found by the row's own check, before it samples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from ..batch import flags
from ..batch.checks import Checked
from ..batch.costs import Estimate, of_work
from ..batch.manifest import Row
from ..batch.media_probe import Looked, as_read, looked_at
from ..batch.paths import missing
from ..batch.row_values import PICTURE, VIDEO
from ..batch.row_warnings import doubts
from ..geometry import check_shape
from ..kernels.precision import FAST, int8_storage
from ..media.clips import Clip
from ..plate.choice import LOCK
from ..plate.choice import OFF as NO_PLATE
from ..poses.poses_file import is_poses_file
from ..preflight.budget import OFFLOADED, RESIDENT, Work, stored_bytes
from ..video.draft import draft_size
from ..video.options import VideoOptions
from .arguments import check_arguments, opened_loras, transformer_file
from .cropping import crops
from .device import DECODER, usual_device
from .options import add_generate
from .weights import Weights, open_weights

_NEEDED = ("--ckpt_dir", "--image", "--pose")
_VIDEOS = ("--pose", "--mask_video")
_KINDS = {int: "a whole number", float: "a number"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def check_row(row: Row) -> Checked:
    """All that is wrong with a row of the command line, and what it needs. Raises nothing for what it holds."""
    errors = list(_flag_faults(row))
    looked = dict(_looked(row, whole=not errors))
    errors += [f"{flag} is {path.name}, {found.fault}" for (flag, path), found in looked.items() if found.fault]
    errors += [f"{flag} is {path.name}, which {found.several}: save the picture that is meant as PNG."
               for (flag, path), found in looked.items() if found.several]
    if errors:
        return Checked(row, tuple(errors))
    warnings = tuple(f"{flag} is {path.name}, which {text}" for (flag, path), found in looked.items()
                     for text in found.warnings)
    try:
        arguments = row_parser().parse_args(flags.words(row))
        options, sigmas = check_arguments(arguments)
        weights = _weights(transformer_file(arguments).absolute())
        opened_loras(arguments, weights)
        if poses := is_poses_file(Path(arguments.pose)):
            return Checked(row, (), warnings, None, f"its driving video is poses ({poses})")
        stamps = {flag: found for (flag, _), found in looked.items()}
        clip = _clip(options, stamps["--pose"], stamps.get("--mask_video"))
        cuts = () if options.finds_cuts else options.written_cuts(clip)
        segments = options.segments(clip, cuts)
        options.changes(clip, segments)
    except (ValueError, RuntimeError) as error:
        return Checked(row, (str(error),), warnings)
    steps, size = options.settings(0, (), sigmas).steps, _size(arguments, stamps["--image"])
    warnings += tuple(doubts(options, size, None if sigmas else steps, clip, segments, lora=bool(arguments.lora_path)))
    lengths = tuple(segment.length for segment in segments)
    return Checked(row, (), warnings, _estimate(arguments, options, weights, clip, lengths, steps, size))


def _flag_faults(row: Row) -> Iterator[str]:
    """Flags that do not exist, values of another kind, files that are missing: all of them."""
    known = {name for action in row_parser()._actions for name in action.option_strings}
    given = {**row.smaller, **row.values}
    addresses = [key for key in given if not key.startswith("--") and "." in key]
    if addresses:
        yield (f"It has inputs of a workflow ({', '.join(addresses[:3])}{', ...' * (len(addresses) > 3)}), but no "
               "workflow: name one with workflow, or write flags.")
    if addresses and not any(key.startswith("--") for key in given):
        return
    for flag in given:
        if not flag.startswith("--"):
            continue  # said above, or by the manifest's own check
        if flag in flags.OF_THE_BATCH:
            yield f"{flag} is what a batch gives each row itself: leave it out."
        elif flag not in known:
            near = [name for name in sorted(known) if name.startswith(flag[:6])]
            yield (f"{flag} is not a flag of scail2 generate: "
                   f"{f'is it {near[0]}?' if near else 'see scail2 generate --help.'}")
        else:
            for source in (row.values, row.smaller):
                if flag in source:
                    yield from _value_faults(replace(row, values={flag: source[flag]}, smaller={}), flag)
    for flag in _NEEDED:
        if flag not in row.values:
            yield f"{flag} is missing: every row of the command line needs it."


def _value_faults(row: Row, flag: str) -> Iterator[str]:
    value = row.values[flag]
    if isinstance(value, list) and (not value or flag not in flags.LISTS):
        yield (f"{flag} is an empty list: leave it out." if not value else
               f"{flag} is a list, but it takes one value: write it without brackets.")
        return
    try:
        values = flags.values_of(row)
    except ValueError as error:
        yield str(error)
        return
    try:
        row_parser().parse_args(flags.words(row))
    except ValueError as error:
        action = next(action for action in row_parser()._actions if flag in action.option_strings)
        meant = f"one of {', '.join(action.choices)}" if action.choices else _KINDS.get(action.type)  # type: ignore
        yield f"{flag} is {value}, but it must be {meant}: correct it." if meant else f"{error}: correct it."
        return
    for name, path in (*flags.paths_of(row, values, flags.FILES), *flags.paths_of(row, values, flags.MODELS)):
        if not os.path.exists(path):  # False too for a name that no disk can have
            shown = path.relative_to(row.base) if path.is_relative_to(row.base) else path
            yield f"{name} {missing(row.base, str(shown))}"
        elif value == "":
            yield f"{name} is empty, but a file is needed: give one, or leave the flag out."
        elif path.is_dir() and name in flags.FILES and name not in flags.FOLDERS:
            yield f"{name} is {path.name}, which is a folder, but a file is needed: give a file."


def _looked(row: Row, *, whole: bool) -> Iterator[tuple[tuple[str, Path], Looked]]:
    """The row's files; those of a row that is not whole as far as they are there."""
    for flag, path in flags.paths_of(row, row.values if not whole else flags.values_of(row),
                                     flags.FILES - flags.FOLDERS):
        if (whole or os.path.isfile(path)) and not is_poses_file(path):
            yield (flag, path), looked_at(path, VIDEO if flag in _VIDEOS else PICTURE)


def _clip(options: VideoOptions, video: Looked, mask: Looked | None) -> Clip:
    """The driving video as a run reads it. ValueError for masks that do not fit it."""
    assert video.stamps is not None
    if mask is not None and mask.stamps is not None:
        options.check_masks(as_read(video.stamps, None, options.stated_rate), len(mask.stamps))
        if video.stored != mask.stored:
            check_shape("driving mask", mask.size, "driving video", video.size)
    return as_read(video.stamps, options.picked_rate, options.stated_rate)


def _size(arguments: argparse.Namespace, reference: Looked) -> tuple[int, int]:
    """(width, height) of the result, swapped as `read_inputs` does it."""
    width, height = arguments.target_w, arguments.target_h
    turned = not crops(arguments) and (reference.size[0] - reference.size[1]) * (height - width) < 0
    return (height, width) if turned else (width, height)


def _estimate(arguments: argparse.Namespace, options: VideoOptions, weights: Weights, clip: Clip,
              lengths: tuple[int, ...], steps: int, size: tuple[int, int]) -> Estimate:
    width, height = draft_size(*size) if options.draft else size
    stored = stored_bytes(weights.config, usual_device()[1], arguments.precision)
    return of_work(Work(
        weights.config, width, height, lengths, len(arguments.additional_ref_image), steps, options.guidance, stored,
        clip.width, clip.height, options.overlap, options.encoding.lossless, False,
        OFFLOADED if arguments.offload_model else RESIDENT, DECODER, int8_storage(arguments.precision),
        options.sparse if arguments.precision == FAST else None, options.plate != NO_PLATE, options.plate == LOCK),
        len(clip))


@lru_cache(maxsize=1)
def row_parser() -> argparse.ArgumentParser:
    """Of the flags of generate, each of which may be given alone. ValueError for what it cannot read."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_generate(parser)
    for action in parser._actions:
        action.required = False
    return parser


@lru_cache(maxsize=8)
def _weights(path: Path) -> Weights:
    return open_weights(path)
