"""Why a row failed, and what follows from that: the rules by which it is tried again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .manifest import Row
    from .report import RowReport

FULL_PAUSE = 60.0  # seconds until a full disk is tried again the first time; twice as long each time after
_NAN_ATTEMPTS = 2  # another run of a healthy card may be sound; a third would show nothing new


class Kind(str, Enum):
    """What failed. Values are those of report.json."""

    INPUTS = "inputs"
    NAN = "nan"
    MEMORY = "memory"
    GPU = "gpu"
    PROCESS = "process"
    DISK = "disk"
    STOPPED = "stopped"


class RowError(RuntimeError):
    """A row, or the start of its engine, failed. text: one sentence."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


@dataclass(frozen=True)
class Next:
    """What to do with a row now. pause: seconds to wait before. new_process: the engine is started anew, because what
    its process holds is not to be trusted."""

    again: bool
    smaller: bool = False
    new_process: bool = False
    pause: float = 0.0


def next_step(report: RowReport, row: Row, most_attempts: int) -> Next:
    """Whether a row is made once more, and how. `Attempt.counts` says which attempts count."""
    if report.finished:
        return Next(False)
    counted = [attempt for attempt in report.attempts if attempt.counts]
    smaller = any(attempt.smaller for attempt in counted)
    if not counted or report.attempts[-1].kind is Kind.STOPPED:
        return Next(True, smaller, new_process=report.kind in (Kind.PROCESS, Kind.GPU))
    kind = counted[-1].kind
    if kind is Kind.MEMORY:
        # the smaller values are another try of their own, however many there were before
        return Next(True, smaller=True, new_process=True) if row.smaller and not smaller else Next(False)
    if kind is Kind.INPUTS or len(counted) >= most_attempts:
        return Next(False)
    same = sum(attempt.kind is kind for attempt in counted)
    if kind is Kind.NAN and same >= _NAN_ATTEMPTS:
        return Next(False)
    if kind is Kind.DISK:
        return Next(True, smaller, pause=FULL_PAUSE * 2 ** (same - 1))
    return Next(True, smaller, new_process=True)


def _words(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


# by what a message says, in this order: a lost GPU is told as a failed allocation too
_BY_TEXT = (
    (Kind.MEMORY, _words(r"ALLOCATION_FAILED")),
    (Kind.GPU, _words(r"fallen off the bus", r"GPU is lost", r"no longer accessible", r"uncorrectable ECC",
                      r"illegal (memory access|instruction|address)", r"misaligned address", r"device-side assert",
                      r"unspecified launch failure", r"launch (timed out|failure)", r"hardware stack error",
                      r"CU(DNN|BLAS|SPARSE|SOLVER)_STATUS_(INTERNAL_ERROR|EXECUTION_FAILED|MAPPING_ERROR|NOT_INITIALIZED)",
                      r"cudaError(IllegalAddress|ECCUncorrectable|LaunchFailure|HardwareStackError|DevicesUnavailable)",
                      r"CUDA-capable device\(s\) is/are busy", r"system not yet initialized", r"Xid ",
                      r"unknown error.*CUDA|CUDA.*unknown error", r"no CUDA-capable device",
                      r"No CUDA GPUs are available", r"NCCL error",
                      r"driver shutting down", r"device not ready", r"CUDA initialization")),
    (Kind.MEMORY, _words(r"out of memory", r"OutOfMemory", r"not enough memory", r"t allocate memory",
                         r"unable to allocate", r"CU(BLAS|DNN)_STATUS_ALLOC_FAILED", r"main memory is full",
                         r"std::bad_alloc", r"paging file is too small", r"hipErrorOutOfMemory",
                         r"Allocation on device", r"of (main|GPU) memory, (but|because)", r"too little memory")),
    (Kind.DISK, _words(r"disk is full", r"No space left on device", r"o space left", r"Disk quota exceeded",
                       r"not enough space on the disk", r"more and its disk has")),
    (Kind.NAN, _words(r"NaN or infinite values")),
    (Kind.GPU, _words(r"CUDA error", r"CUDA driver error", r"cuDNN error", r"HIP error")),
)
_BY_TYPE = {"MemoryError": Kind.MEMORY, "OutOfMemoryError": Kind.MEMORY, "OOM_EXCEPTION": Kind.MEMORY,
            "AcceleratorError": Kind.GPU, "InterruptProcessingException": Kind.STOPPED,
            "ProcessDied": Kind.PROCESS, "ConnectionError": Kind.PROCESS, "ConnectionResetError": Kind.PROCESS,
            "BrokenPipeError": Kind.PROCESS}


def classify(exception_type: str, message: str, log: str = "") -> Kind:
    """The kind of a failure. exception_type: with or without its module ("torch.cuda.OutOfMemoryError"), "ProcessDied"
    for a process that ended by itself; log: its last lines, which count only then."""
    name = exception_type.rpartition(".")[2]
    told = _by_text(message) or _BY_TYPE.get(name)
    if told in (None, Kind.PROCESS) and name == "ProcessDied":
        return _by_text(log) or Kind.PROCESS
    return told or Kind.INPUTS


def explained(where: str, exception_type: str, message: str) -> RowError:
    """What was raised in a place, "Load Model" or "scail2 generate", as one sentence. Our own are taken as they are."""
    kind, name = classify(exception_type, message), exception_type.rpartition(".")[2]
    # ComfyUI adds tips to what libraries say, and these add where to read more
    line = (message.strip().splitlines() or [name])[0].strip().rstrip(".") or name
    if kind is Kind.MEMORY and name != "ValueError":  # those are the check's, with a remedy
        line = (f"{where} ran out of memory ({line}): choose a smaller width and height or shorter segments, or give "
                "the row smaller values")
    elif kind is Kind.GPU:
        line = (f"{where} lost the GPU ({line}): run again, finished segments are kept; if it happens again, restart "
                "the machine or take that GPU out")
    elif name not in ("ValueError", "RuntimeError"):
        line = f"{name}: {line}"
    return RowError(kind, f"{line if line.startswith(where) else f'{where}: {line}'}.")


def _by_text(text: str) -> Kind | None:
    return next((kind for kind, pattern in _BY_TEXT if pattern.search(text)), None)
