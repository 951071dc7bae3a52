"""What each segment is made with: the video's prompts and reference, and the plan's changes to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..identity.mask_set import MaskSet
from ..inputs.reference import Reference, white_background
from ..plate.person_crop import PersonCrop
from .host import Host
from .options import VideoOptions
from .plan_parser import NOTHING, Change, Changes
from .task import SegmentInputs


@dataclass(frozen=True)
class Given:
    """What a user gives for the whole video, as the host's objects; the first reference is used where the plan names no
    other. sigmas: as in `task.Settings`. plate_masks: of the made people, from a first pass, if there are any.
    crop: where the person lies whom the driving video shows through a window."""

    positive: Any
    negative: Any
    references: Sequence[Any]
    sigmas: tuple[float, ...] = ()
    plate_masks: MaskSet | None = None
    crop: PersonCrop | None = None


def ordered_references(first: Reference, more: Mapping[str, Reference] | None) -> list[Reference]:
    """All connected references in the order of their numbers. Raises ValueError for a gap, another size or mode."""
    references = [first]
    for number, (name, reference) in enumerate((more or {}).items(), 2):
        if name != f"reference_{number}":
            raise ValueError(f"In more_references {name} is connected, but reference_{number} is not: leave no gap, "
                             "because the places are the numbers.")
        if (reference.width, reference.height) != (first.width, first.height):
            raise ValueError(f"{name} is encoded at {reference.width}x{reference.height}, but reference at "
                             f"{first.width}x{first.height}: encode all at one size.")
        if {white_background(each.masks[0, -1]) for each in (reference, first)} == {True, False}:
            raise ValueError(f"{name} was encoded for the other mode than reference: connect identities of the same "
                             "mode to both Encode SCAIL-2 Reference nodes.")
        references.append(reference)
    return references


def check_changes(changes: Sequence[Changes], references: int, host: Host) -> None:
    """Raise ValueError if the plan asks for references or prompts that cannot be had."""
    parts = ((number, part) for number, both in enumerate(changes, 1) for part in (both.lasting, both.only or NOTHING))
    for number, change in parts:
        if change.reference is not None and change.reference > references:
            raise ValueError(f"The plan chooses reference {change.reference}, but there are {references}: give it more "
                             "(more_references, --plan_image), or choose another.")
        host.check_change(change, number)


def prompt_texts(change: Change, number: int) -> list[tuple[str, str]]:
    """The prompts that a change brings for segment `number`, and what messages call them."""
    texts = (change.prompt, f"plan's segment {number}"), (change.negative_prompt, f"plan's segment {number} negative")
    return [(text, name) for text, name in texts if text is not None]


def segment_inputs(options: VideoOptions, changes: Sequence[Changes], given: Given, host: Host
                   ) -> tuple[SegmentInputs, list[SegmentInputs], list[SegmentInputs | None]]:
    """What a segment is made with where nothing is changed; and by segment: what it is made with, and what it alone is
    made with. Raises ValueError for a prompt that is too long."""
    choose = _chooser(options, given, host)
    return (choose(NOTHING),
            [choose(both.lasting, number) for number, both in enumerate(changes, 1)],
            [both.only and choose(both.only.over(both.lasting), number) for number, both in enumerate(changes, 1)])


def _chooser(options: VideoOptions, given: Given, host: Host) -> Callable[..., SegmentInputs]:
    # cached: texts are encoded and large tensors read once, however many segments there are
    texts: dict[str, Any] = {}

    @cache
    def saved(name: str) -> Any:
        return host.saved_prompt(name)

    @cache
    def prompts(prompt: str | None, file: str | None, negative_prompt: str | None) -> tuple[Any, Any, str]:
        positive = texts[prompt] if prompt is not None else saved(file) if file else given.positive
        negative = texts[negative_prompt] if negative_prompt is not None else given.negative
        return positive, negative, host.prompt_key(positive, negative)

    @cache
    def reference_key(index: int) -> str:
        return host.reference_key(given.references[index])

    def choose(change: Change, number: int = 0) -> SegmentInputs:
        """number: of the segment, from 1, for messages."""
        for text, name in prompt_texts(change, number):
            if text not in texts:
                texts[text] = host.encode_text(text, name)
        positive, negative, key = prompts(change.prompt, change.saved_prompt, change.negative_prompt)
        index = (change.reference or 1) - 1
        return SegmentInputs(
            positive, negative, key, given.references[index], reference_key(index),
            options.guidance if change.guidance is None else change.guidance,
            options.history_strength if change.history_strength is None else change.history_strength,
            1.0 if change.driving_strength is None else change.driving_strength, change.seed)

    return choose
