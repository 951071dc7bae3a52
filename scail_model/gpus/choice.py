"""Which GPUs make one video together: as many as were asked for, or fewer and the reason in one sentence.

The heads of attention are shared equally, so their number has to be a multiple of the number of GPUs: with 40 heads 2,
4, 5, 8, 10, 20 or 40 GPUs. Layers end together, so a slower GPU would hold up the others: all are of one kind. Rows
travel from each GPU to every other one in each layer, so each pair needs peer access; copies through main memory are
slow. What cannot be had is not an error: the next smaller number that works is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from . import probe

ALL = "all"
OFFERED = ("1", "2", "4", "5", "8", ALL)  # what a menu shows; other numbers work by the same rules
# Cards of one kind differ a little in what firmware, error correction and the screen leave of their memory.
_SAME_MEMORY = 0.05
_GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """A device, and what decides whether it fits the others.

    capability: (major, minor), as torch tells it. total, free: memory in bytes; total is 0 where it is not limited, as
    on a CPU. apart: place in the same list -> why no rows can travel from here to the device there.
    """

    device: torch.device
    name: str
    capability: tuple[int, int]
    total: int
    free: int
    apart: Mapping[int, str]


@dataclass(frozen=True)
class GpuChoice:
    """devices: those of one video, the first as given. fewer: a sentence that says why they are fewer than asked for,
    None if they are not."""

    devices: tuple[torch.device, ...]
    fewer: str | None = None


def wanted_gpus(value: str | float) -> int | None:
    """The number that a user asks for, None for all. ValueError where it is neither a number from 1 nor "all"."""
    text = (f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)).strip().lower()
    if text == ALL:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ValueError(f'gpus is "{value}": use a number of GPUs from 1, or "{ALL}".')
    return int(text)


def no_need(count: int) -> int:
    """For choices before it is known how much memory a video needs."""
    return 0


def choose(wanted: int | None, heads: int, gpus: Sequence[Gpu], needed: Callable[[int], int] = no_need,
           instead: str | None = None) -> GpuChoice:
    """The GPUs of a video. wanted: as `wanted_gpus` reads it. heads: of the model's attention. gpus: all that may be
    used; the first always is. needed: number of GPUs -> bytes of memory on each. instead: what happens where none can
    work together, other than that one makes all.

    ValueError without any GPU.
    """
    if not gpus:
        raise ValueError("No GPU was given to choose from: name at least the one that the model is on.")
    asked = len(gpus) if wanted is None else wanted
    for count in range(min(asked, len(gpus)), 1, -1):
        if heads % count == 0 and (places := _fitting(count, gpus, needed)):
            break
    else:
        count, places = 1, (0,)
    fewer = None
    if count < asked:
        only = "the CPU" if gpus[0].device.type == "cpu" else "1 GPU"
        used = instead or f"{only} is used" if count == 1 else f"{count} GPUs are used"
        named = f'"{ALL}"' if wanted is None else str(wanted)
        next_smaller = next(n for n in range(min(asked - 1, len(gpus)), 0, -1) if heads % n == 0)
        refused = [asked, *([len(gpus)] if asked > len(gpus) and heads % len(gpus) else []),
                   *([next_smaller] if count < next_smaller else [])]
        reasons = dict.fromkeys(_reason(n, heads, gpus, needed) for n in refused)
        fewer = f"gpus is {named}, but {', and '.join(reasons)}: {used}."
    return GpuChoice(tuple(gpus[place].device for place in places), fewer)


def choose_here(wanted: int | None, heads: int, devices: Sequence[torch.device],
                needed: Callable[[int], int] = no_need, free: Callable[[torch.device], int] | None = None,
                instead: str | None = None) -> GpuChoice:
    """`choose` among these devices, as PyTorch finds them; for one GPU the others are not touched, because already a
    look at its free memory takes some of it."""
    facts = gpu_facts(devices[:1] if wanted == 1 else devices, free)
    return choose(wanted, heads, facts, needed, instead)


def gpu_facts(devices: Sequence[torch.device], free: Callable[[torch.device], int] | None = None) -> list[Gpu]:
    """What PyTorch knows of these devices, in their order; CPUs reach each other and have no limit. free: bytes that
    can be free on a device, where somebody knows better than the driver, who counts what could be given up as used."""
    return [_facts(place, devices, free) for place in range(len(devices))]


def all_gpus(first: torch.device) -> list[torch.device]:
    """Every CUDA or ROCm GPU of this machine, `first` first; only itself if it is none."""
    if first.type != "cuda":
        return [first]
    number = torch.cuda.current_device() if first.index is None else first.index
    others = [other for other in range(torch.cuda.device_count()) if other != number]
    return [torch.device("cuda", place) for place in (number, *others)]


def _facts(place: int, devices: Sequence[torch.device], free: Callable[[torch.device], int] | None) -> Gpu:
    device = devices[place]
    reasons = {other: probe.why_apart(device, devices[other]) for other in range(len(devices)) if other != place}
    apart = {other: reason for other, reason in reasons.items() if reason is not None}
    if device.type != "cuda":
        return Gpu(device, device.type, (0, 0), 0, 0, apart)
    of_card = torch.cuda.get_device_properties(device)
    unused = torch.cuda.mem_get_info(device)[0] if free is None else free(device)
    return Gpu(device, of_card.name, (of_card.major, of_card.minor), of_card.total_memory, unused, apart)


def _fitting(count: int, gpus: Sequence[Gpu], needed: Callable[[int], int]) -> tuple[int, ...] | None:
    """Places of the first `count` GPUs that fit each other, the very first among them."""
    room = [place for place in _of_one_kind(gpus) if _has_room(gpus[place], needed(count))]
    return next(_linked(count, gpus, room), None) if 0 in room else None


def _of_one_kind(gpus: Sequence[Gpu]) -> list[int]:
    return [place for place, gpu in enumerate(gpus) if _alike(gpus[0], gpu)]


def _alike(one: Gpu, other: Gpu) -> bool:
    return ((one.device.type, one.name, one.capability) == (other.device.type, other.name, other.capability)
            and abs(one.total - other.total) <= _SAME_MEMORY * one.total)


def _has_room(gpu: Gpu, needed: int) -> bool:
    return not gpu.total or needed <= gpu.free


def _reach(gpus: Sequence[Gpu], one: int, other: int) -> bool:
    return other not in gpus[one].apart and one not in gpus[other].apart


def _linked(count: int, gpus: Sequence[Gpu], places: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Sets of `count` places that begin with the first one and all reach each other, in order."""
    first, *rest = places
    if count == 1:
        yield (first,)
        return
    reached = [place for place in rest if _reach(gpus, first, place)]
    for start in range(len(reached) - count + 2):
        for others in _linked(count - 1, gpus, reached[start:]):
            yield (first, *others)


def _reason(asked: int, heads: int, gpus: Sequence[Gpu], needed: Callable[[int], int]) -> str:
    """Why `asked` GPUs are not to be had: the first rule that forbids them."""
    if asked > len(gpus):
        one = "none" if gpus[0].device.type == "cpu" else "one"
        return f"there are {len(gpus)} here" if len(gpus) > 1 else f"there is {one} here"
    if heads % asked:
        return f"the model's {heads} attention heads cannot be shared equally by {asked}"
    alike = _of_one_kind(gpus)
    if len(alike) < asked:
        other = next(gpu for place, gpu in enumerate(gpus) if place not in alike)
        return f"{_shown(other)} is another kind of GPU than {_shown(gpus[0])}"
    if next(_linked(asked, gpus, alike), None) is None:
        one, other = next((one, other) for one in alike for other in alike if other in gpus[one].apart)
        return f"{gpus[other].device} cannot be reached from {gpus[one].device} ({gpus[one].apart[other]})"
    full = min((gpus[place] for place in alike), key=lambda gpu: gpu.free)
    return (f"about {needed(asked) / _GIB:.1f} GiB are needed on each GPU and {full.free / _GIB:.1f} GiB are free on "
            f"{full.device}")


def _shown(gpu: Gpu) -> str:
    memory = f", {gpu.total / _GIB:.0f} GiB" if gpu.total else ""
    return f"{gpu.device} ({gpu.name}{memory})"
