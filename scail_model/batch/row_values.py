"""A row's values put into its workflow, and everything that is wrong with them: all of it, not the first.

The workflow is a file in ComfyUI's API format. Values take the kind that the workflow's own value has; a value in whose
place the workflow has the name of a picture, a video or a sound is a path, relative to the manifest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .addresses import Place, Prompt, find_input, find_node, is_link, shown, title
from .api_files import load_workflow
from .manifest import Row
from .paths import missing
from .values import brief, fitting

SAMPLER = "SCAIL2SampleVideo"
_OUR_SETTINGS = (SAMPLER, "SCAIL2Preflight")  # all of VideoOptions
_SEEDS = ("seed", "noise_seed")
# nodes that save a video
SAVERS = ("SaveVideo", "SCAIL2PastePerson", "SaveWEBM", "VHS_VideoCombine", "SaveAnimatedWEBP", "SaveAnimatedPNG")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".gif", ".exr")
_VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".gif")
_SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac", ".opus")
_ENDS = (*_PICTURES, *_VIDEOS, *_SOUNDS)
PICTURE, VIDEO, SOUND, OTHER = "picture", "video", "sound", "file"
_LOADERS = {("LoadImage", "image"): PICTURE, ("LoadImageMask", "image"): PICTURE, ("LoadVideo", "file"): VIDEO,
            ("LoadAudio", "audio"): SOUND, ("VHS_LoadVideo", "video"): VIDEO, ("VHS_LoadVideoPath", "video"): VIDEO,
            ("VHS_LoadAudioUpload", "audio"): SOUND, ("VHS_LoadAudio", "audio_file"): SOUND}
_BY_PATH = ("Path", "VHS_LoadAudio")  # ends of names of classes
_PASSING = ("GetVideoComponents", "Video Slice", "CreateVideo", "ImageScale", "ImageFromBatch")  # save nothing
_TEXTS = ("text", "prompt", "negative_prompt", "value", "plan", "filename_prefix")  # may end like a file's name
_FOLDERS = (" [input]", " [output]", " [temp]")  # which of ComfyUI's a name is in, as its page writes it


@dataclass(frozen=True)
class MediaFile:
    """kind: how it is read. by_path: the node takes a path anywhere, not a name in ComfyUI's input folder."""

    path: Path
    kind: str
    by_path: bool


@dataclass
class Applied:
    """prompt: with the row's values; media files are still named as they were given. given: what the row sets.
    media: by place. output, sampler, seed: as in `workflow.Graph`. faults: one sentence each."""

    prompt: dict[str, dict[str, Any]] = field(default_factory=dict)
    given: dict[Place, str] = field(default_factory=dict)
    media: dict[Place, MediaFile] = field(default_factory=dict)
    output: str = ""
    sampler: str | None = None
    seed: int | None = None
    faults: list[str] = field(default_factory=list)


def applied(row: Row, *, smaller: bool = False) -> Applied:
    """A row's workflow with its values. Raises nothing: what is wrong is in `faults`."""
    assert row.workflow is not None
    made = Applied()
    try:
        prompt = load_workflow(row.workflow)
    except ValueError as error:
        made.faults.append(str(error))
        return made
    made.prompt = {node: {**about, "inputs": dict(about["inputs"])} for node, about in prompt.items()}
    _set_values(made, prompt, {**row.values, **(row.smaller if smaller else {})})
    if not smaller:  # an address that is wrong is wrong before it is needed
        made.faults += _wrong_values(prompt, row.smaller)
    _find_media(made, row, prompt)
    _find_output(made, row)
    if made.output:
        before = list(_before(made.prompt, made.output))
        made.sampler = next((node for node in before if made.prompt[node]["class_type"] == SAMPLER), None)
        made.seed = _seed(made.prompt, [made.sampler] if made.sampler else before)
    return made


def links(about: Mapping[str, Any], prompt: Prompt) -> Iterator[tuple[str, str]]:
    """(input, node that feeds it) of a node."""
    for name, value in about["inputs"].items():
        if is_link(value) and value[0] in prompt:
            yield name, value[0]


def _set_values(made: Applied, prompt: Prompt, values: Mapping[str, Any]) -> None:
    for address, value in values.items():
        if _said_already(address, value):
            continue
        try:
            place = find_input(prompt, address, our_inputs)
            if place in made.given:
                raise ValueError(f"{address} and {made.given[place]} are one input, which is set twice: leave one of "
                                 "them out, or write it in the defaults as in the row.")
            made.given[place] = address
            made.prompt[place.node]["inputs"][place.name] = _fitted(prompt, place, address, value)
        except ValueError as error:
            made.faults.append(_of_an_address(address, str(error)))


def _wrong_values(prompt: Prompt, values: Mapping[str, Any]) -> Iterator[str]:
    for address, value in values.items():
        if _said_already(address, value):
            continue
        try:
            _fitted(prompt, find_input(prompt, address, our_inputs), address, value)
        except ValueError as error:
            yield f"smaller: {_of_an_address(address, str(error))}"


def _said_already(address: str, value: Any) -> bool:
    """Whether the manifest's own faults name it: a key that is none, or not a number."""
    return ("." not in address and not address.startswith("--")) or (
        isinstance(value, float) and not math.isfinite(value)) or isinstance(value, dict)


def _of_an_address(address: str, text: str) -> str:
    if address.startswith("--"):
        return f"{address} is a flag of the command line, but the row has a workflow: leave one of both out."
    return text


def _fitted(prompt: Prompt, place: Place, address: str, value: Any) -> Any:
    about = prompt[place.node]
    old = about["inputs"].get(place.name)
    if old is None and place.name in our_inputs(about["class_type"]):
        old = _defaults().get(place.name)
    return fitting(address, place.name, old, value)


@cache
def _defaults() -> dict[str, Any]:
    from ..video.options import option_fields  # brings torch, and is needed for workflows of old only

    return {each.name: each.default for each in option_fields()}


def our_inputs(class_type: str) -> frozenset[str]:
    """Inputs that a node of ours has though an older file may not name them."""
    return frozenset(_defaults()) if class_type in _OUR_SETTINGS else frozenset()


def _find_media(made: Applied, row: Row, prompt: Prompt) -> None:
    """Note all media files of nodes that are used, and what is wrong with their paths."""
    used = _used(made.prompt)
    for node, about in prompt.items():
        for name, old in about["inputs"].items():
            place = Place(node, name)
            if not _is_media(about["class_type"], name, old) or (node not in used and place not in made.given):
                continue
            value = made.prompt[node]["inputs"][name]
            kind = _LOADERS.get((about["class_type"], name)) or _kind(str(old))
            by_path = about["class_type"].endswith(_BY_PATH) or Path(str(old)).is_absolute()
            try:
                path = _path(made, row, place, str(value))
            except ValueError as error:
                made.faults.append(str(error))
            else:
                made.media[place] = MediaFile(path, kind, by_path)


def _used(prompt: Prompt) -> set[str]:
    """Nodes that something is made from. What only passes frames on to nobody, ComfyUI does not look at."""
    left = set(prompt)
    while True:
        used = {source for node in left for _, source in links(prompt[node], prompt)}
        idle = {node for node in left - used if prompt[node]["class_type"] in _PASSING}
        if not idle:
            return used
        left -= idle


def _is_media(class_type: str, name: str, value: Any) -> bool:
    if not isinstance(value, str) or name in _TEXTS or "\n" in value:
        return False
    return (class_type, name) in _LOADERS or _bare(value).lower().endswith(_ENDS)


def _path(made: Applied, row: Row, place: Place, value: str) -> Path:
    address = made.given.get(place)
    if value.endswith(_FOLDERS[1:]):
        raise ValueError(f"{address or shown(made.prompt, place)} is {value}, in a folder of ComfyUI's own that a "
                         "batch does not read: give the path of a file.")
    path = row.base / _bare(value)
    if os.path.isfile(path):  # False too for a name that no disk can have, as a prompt in the wrong column
        return path
    what = f"{address or shown(made.prompt, place)} is {brief(value) or 'empty'}"
    if address is None:
        raise ValueError(f"{what} in the workflow itself, and the row does not set it; there is no such file beside "
                         "the manifest: set it, or put the file there.")
    if not _bare(value):
        raise ValueError(f"{what}, but a file is needed: give one.")
    if os.path.isdir(path):
        raise ValueError(f"{what}, which is a folder, but a file is needed: give a file.")
    raise ValueError(f"{address} {missing(row.base, _bare(value))}")


def _bare(value: str) -> str:
    return next((value.removesuffix(end) for end in _FOLDERS if value.endswith(end)), value)


def _kind(name: str) -> str:
    name = _bare(name).lower()
    return PICTURE if name.endswith(_PICTURES) else VIDEO if name.endswith(_VIDEOS) else OTHER


def _find_output(made: Applied, row: Row) -> None:
    try:
        if row.output:
            node = find_node(made.prompt, row.output)
            about = made.prompt[node]
            if about["class_type"] not in SAVERS and "filename_prefix" not in about["inputs"]:
                raise ValueError(f'output is {row.output}, a node of class {about["class_type"]}, which saves no '
                                 "video: name the node that does.")
            made.output = node
            return
        found = [node for node, about in made.prompt.items() if about["class_type"] in SAVERS]
        if not found:
            raise ValueError("The workflow has no node that is known to save a video, as Save Video: add one, or name "
                             "the node with output.")
        if len(found) > 1:
            names = ", ".join(f'"{title(made.prompt[node])}"' for node in found)
            raise ValueError(f"The workflow saves {len(found)} videos ({names}): name the node whose video is the "
                             "row's result with output.")
        made.output = found[0]
    except ValueError as error:
        made.faults.append(str(error))


def _before(prompt: Prompt, node: str) -> Iterator[str]:
    """A node and all that it is made from, the nearest first."""
    seen, waiting = {node}, [node]
    while waiting:
        node = waiting.pop(0)
        yield node
        for _, source in links(prompt[node], prompt):
            if source not in seen:
                seen.add(source)
                waiting.append(source)


def _seed(prompt: Prompt, nodes: list[str]) -> int | None:
    for node in nodes:
        for name in _SEEDS:
            value = prompt[node]["inputs"].get(name)
            if is_link(value) and value[0] in prompt:
                value = next(iter(prompt[value[0]]["inputs"].values()), None)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None
