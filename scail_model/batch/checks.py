"""Everything that can be known of all rows without loading a model: what is wrong, what is doubtful, what it will cost.

Files are looked at once, however many rows name them. Rows of the command line are checked by a function that its
package brings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..geometry import check_shape, check_size
from ..segments import check_length, check_overlap
from .addresses import Place, shown
from .costs import Card, Estimate, estimated
from .manifest import Manifest, Row
from .media_probe import Looked, Stamps, as_read, look_at_all
from .model_folders import ModelFolders
from .row_values import Applied, applied
from .row_warnings import doubts
from .video_request import Asked, Source, asked_of, settings_faults, sizes

_GIB = 2**30
_USABLE = 0.95  # of a card


@dataclass(frozen=True)
class Checked:
    """What there is to say of a row. errors, warnings: sentences without the row's place. estimate: None where it
    cannot be made; unknown: why not, if the row is fine otherwise."""

    row: Row
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    estimate: Estimate | None = None
    unknown: str = ""


def check_rows(manifest: Manifest, check_command_line: Callable[[Row], Checked], *, folders: ModelFolders | None = None,
               card: Card | None = None, gpus: int = 1) -> list[Checked]:
    """Check all rows, also those without a usable id. folders: of the ComfyUI that will make them, to look for model
    files. card: that they are to fit on. gpus: that each row gets. Raises nothing for what rows hold."""
    rows = (*manifest.rows, *manifest.unnamed)
    graphs = {index: (applied(row), applied(row, smaller=True) if row.smaller else None)
              for index, row in enumerate(rows) if row.workflow is not None}
    media = look_at_all(file for made in _all(graphs.values()) for file in made.media.values())
    checked = []
    for index, row in enumerate(rows):
        if row.workflow is None:
            found = check_command_line(row)
        else:
            made, smaller = graphs[index]
            found = _of_graph(row, made, media, folders)
            if smaller is not None:
                found = _with_smaller(found, _of_graph(row, smaller, media, folders))
        if gpus > 1 and found.estimate is not None:
            found = replace(found, estimate=found.estimate.on(gpus))
        checked.append(_fitting(found, card))
    return _with_twins(checked)


def _with_twins(checked: list[Checked]) -> list[Checked]:
    """With a warning for each row that would make the video of another one."""
    first: dict[tuple, str] = {}
    found = []
    for one in checked:
        row = one.row
        same = first.setdefault((row.workflow, row.output, repr(sorted(row.values.items()))), row.id)
        twin = () if same == row.id or one.errors else (f"It has the values of {same}, so it will be the same video: "
                                                         "give it another seed, or leave it out.",)
        found.append(replace(one, warnings=(*one.warnings, *twin)))
    return found


def _all(graphs: Iterable[tuple[Applied, Applied | None]]) -> Iterator[Applied]:
    for made, smaller in graphs:
        yield made
        if smaller is not None:
            yield smaller


def _of_graph(row: Row, made: Applied, media: Mapping, folders: ModelFolders | None) -> Checked:
    errors, warnings = list(made.faults), []
    if not made.prompt:
        return Checked(row, tuple(errors))
    looked = {place: media[file.path, file.kind] for place, file in made.media.items()}
    for place, found in looked.items():
        name = f"{made.given.get(place) or shown(made.prompt, place)} is {made.media[place].path.name}"
        errors += [f"{name}, {found.fault}"] if found.fault else []
        warnings += [f"{name}, which {text}" for text in found.warnings]
        if found.several:  # Load Image gives all of them
            warnings.append(f"{name}, which {found.several}: give one picture, unless all in it are meant.")
    wrong = list(settings_faults(made.prompt))
    for text in map(_size_fault, *zip(*sizes(made.prompt), strict=True)) if list(sizes(made.prompt)) else ():
        wrong += [text] if text else []
    errors += wrong
    if folders is not None:
        errors += folders.missing(made.prompt)
    asked = asked_of(made)
    if asked is None:
        return Checked(row, tuple(errors), tuple(warnings), None, "there is no Sample SCAIL-2 Video before its output")
    estimate, unknown = None, "it has errors"
    if asked.options is not None and not wrong:
        weights = folders.size("diffusion_models", asked.model) if folders and asked.model else None
        found = _of_video(asked, looked, weights)
        errors += found.errors
        warnings += found.warnings
        estimate, unknown = found.estimate, found.unknown
    return Checked(row, tuple(errors), tuple(warnings), estimate, "" if estimate else unknown)


def _size_fault(name: str, width: int, height: int) -> str | None:
    try:
        check_size(width, height)
    except ValueError as error:
        return f'"{name}": {error}'
    return None


@dataclass(frozen=True)
class _Video:
    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()
    estimate: Estimate | None = None
    unknown: str = "it has errors"


def _of_video(asked: Asked, looked: Mapping[Place, Looked], weights: int | None) -> _Video:
    """What lengths, rates and plans say."""
    options = asked.options
    assert options is not None
    errors = [*_refusals(check_length, options.segment_length)]
    errors += [] if errors else _refusals(check_overlap, options.overlap, options.segment_length)
    stored = _stamps(asked.driving, looked)
    if stored is None:
        return _Video(errors, unknown="it is not known how many frames its driving video has")
    try:
        clip = as_read(stored, options.picked_rate, options.stated_rate)
    except ValueError as error:
        return _Video([*errors, str(error)])
    errors += _mask_faults(asked, looked, stored)
    if errors:
        return _Video(errors)
    try:
        cuts = () if options.finds_cuts else options.written_cuts(clip)
        segments = options.segments(clip, cuts)
        options.changes(clip, segments)
    except ValueError as error:
        return _Video([str(error)])
    doubtful = doubts(options, asked.size, asked.steps, clip, segments, lora=asked.lora) if asked.size else ()
    return _Video((), tuple(doubtful), estimated(asked, clip, segments, weights),
                  "its size or its steps are not written in the workflow")


def _mask_faults(asked: Asked, looked: Mapping[Place, Looked], driving: Stamps) -> Iterator[str]:
    masks = _stamps(asked.masks, looked)
    options = asked.options
    if masks is None or options is None or asked.driving is None or asked.masks is None:
        return
    yield from _refusals(options.check_masks, driving, len(masks))
    video, mask = looked[asked.driving.place], looked[asked.masks.place]
    if video.stored != mask.stored:  # a mask of the stored frames lies on their grid
        yield from _refusals(check_shape, "driving mask", mask.size, "driving video", video.size)


def _stamps(source: Source | None, looked: Mapping[Place, Looked]) -> Stamps | None:
    found = looked.get(source.place) if source else None
    return found.stamps.within(source.window) if source and found and found.stamps else None


def _refusals(check: Callable[..., object], *values: object) -> Iterator[str]:
    try:
        check(*values)
    except ValueError as error:
        text = str(error)
        yield text if text.endswith(".") else f"{text}."


def _with_smaller(usual: Checked, smaller: Checked) -> Checked:
    """What is wrong only with the smaller values."""
    errors = [f"With its smaller values: {text}" for text in smaller.errors
              if not {text, f"smaller: {text}"} & set(usual.errors)]
    return Checked(usual.row, (*usual.errors, *errors), usual.warnings, usual.estimate, usual.unknown)


def _fitting(checked: Checked, card: Card | None) -> Checked:
    estimate = checked.estimate
    if card is None or estimate is None or not card.memory or estimate.vram <= _USABLE * card.memory:
        return checked
    remedy = "its smaller values will be tried then" if checked.row.smaller else (
        "lower segment_length, or make the video smaller")
    text = (f"It needs at least about {estimate.vram / _GIB:.1f} GiB of GPU memory, but the {card.name} has "
            f"{card.memory / _GIB:.1f} GiB: {remedy}.")
    return replace(checked, warnings=(*checked.warnings, text))
