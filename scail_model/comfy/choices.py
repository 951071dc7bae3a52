"""What each segment is made with: the node's prompts and reference, and the plan's changes to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import folder_paths

from ..video.plan_parser import NOTHING, Change, Changes
from . import conditioning, keys
from . import prompts as comfy_prompts
from .conditioning import Reference
from .prompts import FOLDER
from .video_options import VideoOptions
from .work import Choice


def references(first: Reference, more: Mapping[str, Reference] | None) -> list[Reference]:
    """All connected references in the order of their numbers. Raises ValueError for a gap, another size or mode."""
    found = [first]
    for number, (name, reference) in enumerate((more or {}).items(), 2):
        if name != f"reference_{number}":
            raise ValueError(f"In more_references {name} is connected, but reference_{number} is not: leave no gap, "
                             "because the places are the numbers.")
        if (reference.width, reference.height) != (first.width, first.height):
            raise ValueError(f"{name} is encoded at {reference.width}x{reference.height}, but reference at "
                             f"{first.width}x{first.height}: encode all at one size.")
        if bool(reference.masks[0, -1, 0].any()) != bool(first.masks[0, -1, 0].any()):
            raise ValueError(f"{name} was encoded for the other mode than reference: connect identities of the same "
                             "mode to both Encode SCAIL-2 Reference nodes.")
        found.append(reference)
    return found


def check_changes(changes: Sequence[Changes], count: int, clip) -> None:
    """Raise ValueError if the plan asks for references, prompts or a text encoder that there are not."""
    for change in (part for both in changes for part in (both.lasting, both.only or NOTHING)):
        if change.reference is not None and change.reference > count:
            raise ValueError(f"The plan chooses reference {change.reference}, but {count} are connected: connect more "
                             "to more_references, or choose another.")
        if clip is None and (change.prompt is not None or change.negative_prompt is not None):
            raise ValueError("The plan has prompts, but no text encoder is connected: connect one to clip, or use "
                             "saved_prompt.")
        if change.saved_prompt is not None and folder_paths.get_full_path(FOLDER, _file(change)) is None:
            raise ValueError(f"The plan's saved_prompt {change.saved_prompt} is not in models/{FOLDER}: save it with "
                             "Save Prompt Embedding, or correct the name.")


def choices(options: VideoOptions, changes: Sequence[Changes], positive: list, negative: list, clip,
            given: Sequence[Reference]) -> tuple[Choice, list[Choice], list[Choice | None]]:
    """What a segment is made with where nothing is changed; and by segment: what it is made with, and what it alone is
    made with. Raises ValueError for a prompt that is too long."""
    choose = _chooser(options, positive, negative, clip, given)
    return (choose(NOTHING),
            [choose(both.lasting) for both in changes],
            [both.only and choose(both.only.over(both.lasting)) for both in changes])


def _chooser(options: VideoOptions, positive: list, negative: list, clip, given: Sequence[Reference]
             ) -> Callable[[Change], Choice]:
    # cached: texts are encoded and large tensors read once, however many segments there are

    @cache
    def encoded(text: str, name: str) -> list:
        entries = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        conditioning.check_prompt(entries, name)
        return entries

    @cache
    def saved(file: str) -> list:
        entries = comfy_prompts.load(folder_paths.get_full_path_or_raise(FOLDER, file))
        conditioning.check_prompt(entries, "plan's saved")
        return entries

    @cache
    def prompts(prompt: str | None, file: str | None, negative_prompt: str | None) -> tuple[list, list, str]:
        first = encoded(prompt, "plan's") if prompt is not None else saved(file) if file else positive
        second = encoded(negative_prompt, "plan's negative") if negative_prompt is not None else negative
        return first, second, keys.prompt_key([first, second])

    @cache
    def reference_key(index: int) -> str:
        return keys.reference_key(given[index])

    def choose(change: Change) -> Choice:
        first, second, key = prompts(change.prompt, change.saved_prompt and _file(change), change.negative_prompt)
        index = (change.reference or 1) - 1
        return Choice(
            first, second, key, given[index], reference_key(index),
            options.guidance if change.guidance is None else change.guidance,
            options.history_strength if change.history_strength is None else change.history_strength,
            1.0 if change.driving_strength is None else change.driving_strength, change.seed)

    return choose


def _file(change: Change) -> str:
    return f"{change.saved_prompt.removesuffix('.safetensors')}.safetensors"
