"""What a graph asks of Sample SCAIL-2 Video, as far as it can be read without ComfyUI: settings, size, model, and the
file that the driving video comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..gpus.choice import ALL, wanted_gpus
from ..media.source import WHOLE, Window
from ..video.options import VideoOptions, check_range, check_seed, check_value, option_fields
from ..video.task import check_strength
from .addresses import Place, Prompt, is_link, title
from .row_values import SAMPLER, Applied, our_inputs

# class -> the input that its frames come from, as many as go out
_PASSING = {"GetVideoComponents": "video", "CreateVideo": "images", "SCAIL2Poses": "driving",
            "SCAIL2SavePoses": "poses", "SCAIL2RetargetPoses": "poses", "SCAIL2RenderPoses": "poses",
            "SCAIL2CropPerson": "driving"}
_LOADER, _CUT = "SCAIL2LoadModel", "Video Slice"
_SIZED = ("SCAIL2EncodeReference", "SCAIL2CropPerson", "SCAIL2ReframeReference", "SCAIL2PlatePreview")
_LORAS = ("SCAIL2LoadLora", "LoraLoaderModelOnly", "LoraLoader")


@dataclass(frozen=True)
class Source:
    """A video file that a node's frames come from. window: the part of it that is taken."""

    place: Place
    window: Window


@dataclass(frozen=True)
class Asked:
    """options: None if some cannot be used. size: (width, height) of the result, None where it is not written in the
    graph. steps: None where a schedule decides it that cannot be read. driving, masks: None where it is not known how
    many frames come out. model: file of the transformer. sparse, int8: by its precision."""

    options: VideoOptions | None
    size: tuple[int, int] | None
    additional: int
    steps: int | None
    driving: Source | None
    masks: Source | None
    model: str | None
    precision: str
    lora: bool


def settings_faults(prompt: Prompt) -> Iterator[str]:
    """What is wrong with the settings of every node that has those of a video, and with the GPUs asked for."""
    for about in prompt.values():
        if about["class_type"] == _LOADER and not is_link(gpus := about["inputs"].get("gpus", ALL)):
            yield from _refused(wanted_gpus, gpus)
        if not our_inputs(about["class_type"]):
            continue
        where = "" if about["class_type"] == SAMPLER else f'"{title(about)}": '
        for each in option_fields():
            value = about["inputs"].get(each.name, each.default)
            if not is_link(value):
                yield from (f"{where}{text}" for text in _refused(check_value, each, value))
        if not is_link(about["inputs"].get("seed", 0)):
            yield from (f"{where}{text}" for text in _refused(check_seed, about["inputs"].get("seed", 0)))
        values = {name: about["inputs"].get(name) for name in ("driving_start", "driving_end", "negative_strength")}
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        if "driving_start" in numbers and "driving_end" in numbers:
            yield from (f"{where}{text}" for text in _refused(check_range, numbers["driving_start"],
                                                              numbers["driving_end"]))
        if "negative_strength" in numbers:
            yield from (f"{where}{text}" for text in _refused(check_strength, numbers["negative_strength"]))


def sizes(prompt: Prompt) -> Iterator[tuple[str, int, int]]:
    """(title, width, height) of every node that makes pictures of the result's size."""
    for about in prompt.values():
        width, height = (about["inputs"].get(name) for name in ("width", "height"))
        if about["class_type"] in _SIZED and isinstance(width, int) and isinstance(height, int):
            yield title(about), width, height


def asked_of(made: Applied) -> Asked | None:
    """What a row asks for; None without a Sample SCAIL-2 Video."""
    if made.sampler is None:
        return None
    prompt, inputs = made.prompt, made.prompt[made.sampler]["inputs"]
    options = _options(inputs)
    reference = _from(prompt, inputs.get("reference"))
    width, height = (reference.get("inputs", {}).get(name) for name in ("width", "height"))
    model = _upstream(prompt, inputs.get("model"))
    loader = next((about for about in model if isinstance(about["inputs"].get("model_name", about["inputs"].get(
        "unet_name")), str)), {"inputs": {}})["inputs"]
    identities = _from(prompt, inputs.get("identities"))
    return Asked(
        options, (width, height) if isinstance(width, int) and isinstance(height, int) else None,
        max(0, _pictures(prompt, reference.get("inputs", {}).get("image")) - 1), _steps(prompt, inputs, options),
        source_of(prompt, inputs.get("driving")), source_of(prompt, identities.get("inputs", {}).get("driving_masks")),
        loader.get("model_name", loader.get("unet_name")), str(loader.get("precision", "exact")),
        any(about["class_type"] in _LORAS for about in model))


def source_of(prompt: Prompt, value: Any) -> Source | None:
    """The file that the frames of an input come from, if nothing on the way changes how many there are."""
    window = WHOLE
    while is_link(value):
        node = value[0]
        about = prompt[node]
        kind, inputs = about["class_type"], about["inputs"]
        if kind == _CUT:
            start, duration = inputs.get("start_time"), inputs.get("duration")
            if window != WHOLE or not all(isinstance(part, int | float) and part >= 0 for part in (start, duration)):
                return None
            window, value = Window(float(start), float(duration)), inputs.get("video")
        elif kind in _PASSING:
            value = inputs.get(_PASSING[kind])
        else:  # other loaders may leave frames out
            return Source(Place(node, "file"), window) if kind == "LoadVideo" else None
    return None


def _options(inputs: Mapping[str, Any]) -> VideoOptions | None:
    values = {}
    for each in option_fields():
        value = inputs.get(each.name, each.default)
        if is_link(value):
            value = each.default
        if list(_refused(check_value, each, value)):
            return None
        values[each.name] = value
    return VideoOptions(**values)


def _refused(check: Any, *values: Any) -> Iterator[str]:
    try:
        check(*values)
    except ValueError as error:
        yield str(error)


def _from(prompt: Prompt, value: Any) -> Mapping[str, Any]:
    """The node that feeds an input, those that save it on the way left out."""
    while is_link(value):
        about = prompt[value[0]]
        onward = about["inputs"].get("identities") if about["class_type"] == "SCAIL2SaveTracks" else None
        if onward is None:
            return about
        value = onward
    return {}


def _upstream(prompt: Prompt, value: Any) -> list[Mapping[str, Any]]:
    """The nodes of a model's way, from the last to the loader."""
    found = []
    while is_link(value):
        found.append(prompt[value[0]])
        value = prompt[value[0]]["inputs"].get("model")
    return found


def _pictures(prompt: Prompt, value: Any) -> int:
    """How many pictures an input brings."""
    if not is_link(value):
        return 1
    about = prompt[value[0]]
    if about["class_type"] not in ("BatchImagesNode", "ImageBatch"):
        return 1
    return sum(_pictures(prompt, part) for part in about["inputs"].values() if is_link(part)) or 1


def _steps(prompt: Prompt, inputs: Mapping[str, Any], options: VideoOptions | None) -> int | None:
    if is_link(inputs.get("sigmas")):
        steps = prompt[inputs["sigmas"][0]]["inputs"].get("steps")
        return steps if isinstance(steps, int) else None
    return options.settings(0).steps if options else None
