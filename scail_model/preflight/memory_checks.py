"""Checks of a run's memory on this machine, and what is said of it: graphics memory, main memory, disk and time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from . import budget, capacity
from .budget import OFFLOADED, RESIDENT, STREAMED, Machine, Need, Work
from .capacity import Residence
from .findings import Finding, error, fact, warning

_GIB = 2**30


def check_folder(folder: Path) -> None:
    """Raise ValueError if the job folder cannot be made there."""
    there = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    if not there.is_dir():
        raise ValueError(f"The job folder cannot be made in {folder}, because {there} is a file: move that file away.")
    if not os.access(there, os.W_OK):
        raise ValueError(f"The job folder cannot be made in {folder}, because {there} may not be written: change its "
                         "permissions, or choose another folder.")


def check(machine: Machine, work: Work, free_disk: int | None) -> Iterator[Finding]:
    """A run that does not fit into the machine; optional needs are not counted. free_disk: bytes at the job folder,
    None if unknown."""
    need = budget.estimate(work, machine.total_vram)
    if machine.total_vram and need.least > machine.free_vram:
        yield _too_little_vram(work, need, machine)
    if need.ram > machine.free_ram:
        yield error("ram", f"The frames of a segment need {gib(need.ram)} of main memory, but "
                           f"{gib(machine.free_ram)} are free: lower segment_length, or make the video smaller.")
    elif not machine.total_vram and _on_cpu(work, need) > machine.free_ram:
        yield error("ram", f"{_size(work)} needs at least about {gib(_on_cpu(work, need))} of main memory, because the "
                           f"model runs on the CPU, but {gib(machine.free_ram)} are free: lower segment_length, or "
                           "make the video smaller.")
    if free_disk is not None and need.disk > free_disk:
        # only a warning: some segments may exist already, and a full disk loses nothing
        yield warning("disk", f"The job folder will grow to about {gib(need.disk)}, but {gib(free_disk)} are free on "
                              "its disk: clear old jobs with Manage SCAIL-2 Jobs, or free space.")


def facts(machine: Machine, work: Work, free_disk: int | None) -> Iterator[Finding]:
    """Facts about memory and time."""
    need, seconds = budget.estimate(work, machine.total_vram), budget.seconds(work, machine)
    yield fact("ram", f"main memory: about {gib(need.ram)} for the frames of a segment; {gib(machine.free_ram)} are "
                      "free")
    free = "" if free_disk is None else f"; {gib(free_disk)} are free"
    yield fact("disk", f"job folder: about {gib(need.disk)}{free}")
    yield fact("vram", _vram(work, need, machine))
    if machine.total_vram:
        yield fact("longest", _longest(work, need, machine))
    if work.weights == STREAMED and (where := capacity.residence(work, machine)) is not None:
        yield fact("weights", _weights(where, work.together.gpus))
    if seconds is not None:
        here = "this GPU" if work.together.gpus == 1 else "these GPUs"
        yield fact("time", f"time: about {budget.duration(seconds)}, from measurements on an NVIDIA H200 and the speed "
                           f"of {here}")


def later(machine: Machine, full: Work, free_disk: int | None) -> Iterator[Finding]:
    """What would stop the video for which a draft is made, said with the draft."""
    for finding in check(machine, full, free_disk):
        yield warning(finding.code, f"For the full video: {finding.text}")


def later_facts(machine: Machine, full: Work) -> Iterator[Finding]:
    """How long that video takes."""
    seconds = budget.seconds(full, machine)
    if seconds is not None:
        yield fact("full_time", f"time of the full video: about {budget.duration(seconds)}")


def needed_on_each(work: Work, total_vram: int = 0) -> Callable[[int], int]:
    """Number of GPUs that make a video -> bytes that each of them needs at least. total_vram: as in `estimate`."""
    return lambda gpus: budget.estimate(replace(work, together=replace(work.together, gpus=gpus)), total_vram).least


def _on_cpu(work: Work, need: Need) -> int:
    """Main memory of a run without a GPU, at least: ComfyUI has the weights in it already, the command line has not."""
    weights = 0 if work.weights == STREAMED else work.weight_bytes
    return need.ram + weights + max(need.activations, need.vae)


def _size(work: Work) -> str:
    return f"{work.width}x{work.height} in segments of {max(work.lengths)} frames"


def _too_little_vram(work: Work, need: Need, machine: Machine) -> Finding:
    free, streamed = machine.free_vram, work.weights == STREAMED
    if streamed and need.sampling <= free:
        return warning("vae_vram", f"The VAE needs about {gib(need.vae)} of GPU memory in one piece, but {gib(free)} "
                                   "can be free: use a smaller size, or let ComfyUI use tiles, which is slower.")
    advice = capacity.smaller(work, free, machine.total_vram)
    if work.weights == RESIDENT and budget.estimate(replace(work, weights=OFFLOADED)).least <= free:
        advice = "offload_model, which keeps the weights in main memory while the VAE works"
    elsewhere = "use a much smaller size, or another GPU" if streamed else (
        "run it with the ComfyUI nodes, which load the weights piece by piece")
    remedy = f"use {advice}" if advice else elsewhere
    needed = need.sampling if streamed else need.least
    return error("vram", f"{_size(work)} needs at least about "
                         f"{gib(needed)} of GPU memory{_on_each(work)}, but {gib(free)} can be free: {remedy}.")


def _longest(work: Work, need: Need, machine: Machine) -> str:
    frames = capacity.longest_segment(work, machine.free_vram, machine.total_vram,
                                      tiles=work.weights == STREAMED and need.vae > machine.free_vram)
    if frames is None:
        return f"longest segment: no frame of {work.width}x{work.height} fits on this GPU"
    more = " or more" if frames == capacity.MOST_FRAMES else ""
    return f"longest segment: {frames} frames{more} of {work.width}x{work.height} fit on this GPU"


def _weights(where: Residence, gpus: int) -> str:
    each = "" if gpus == 1 else f" to each of {gpus} GPUs"
    streamed = sum(where.streamed)
    if not streamed:
        return "weights: all can stay on the GPU"
    return (f"weights: about {gib(where.resident)} can stay on the GPU and {gib(streamed)} are streamed in every "
            f"forward, which costs no time if main memory delivers {where.needed_rate() / 1e9:.1f} GB/s{each}")


def _vram(work: Work, need: Need, machine: Machine) -> str:
    if not machine.total_vram:
        return "GPU memory and time are not estimated, because the model does not run on a CUDA or ROCm GPU"
    if work.weights != STREAMED:
        return (f"GPU memory{_on_each(work)}: about {gib(need.least)} at the peak; {gib(machine.free_vram)} of "
                f"{gib(machine.total_vram)} can be free")
    both = need.activations_together - need.activations
    more = f" ({gib(both)} more with both prompts in one batch)" if both else ""
    return (f"GPU memory{_on_each(work)}: about {gib(need.whole)} if all weights stay there{more}, {gib(need.least)} "
            f"if they are streamed; {gib(machine.free_vram)} of {gib(machine.total_vram)} can be free")


def _on_each(work: Work) -> str:
    return "" if work.together.gpus == 1 else f" on each of {work.together.gpus} GPUs"


def gib(count: int) -> str:
    """In words."""
    return f"{count / _GIB:.1f} GiB"
