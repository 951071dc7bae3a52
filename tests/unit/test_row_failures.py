"""Why rows fail, told from what libraries, ComfyUI and our own code really say; and what follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from scail_model.batch.failures import Kind, Next, classify, next_step
from scail_model.batch.manifest import Row
from scail_model.batch.report import DONE, FAILED, INTERRUPTED, RUNNING, Attempt, RowReport

# exception type as ComfyUI or Python names it, its message, the last lines of a log
MESSAGES = {
    # memory
    "torch's allocator": (
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.81 GiB of which "
        "3.06 MiB is free. Including non-PyTorch memory, this process has 139.80 GiB memory in use.",
        "",
        Kind.MEMORY),
    "torch's allocator before 2.5": ("torch.cuda.OutOfMemoryError", "Allocation on device ", "", Kind.MEMORY),
    "ComfyUI, which adds tips": (
        "torch.OutOfMemoryError",
        "Allocation on device 0 would exceed allowed memory. (out of memory)\nThis error means you ran out of "
        "memory on your GPU.\n\nTIPS: If the workflow worked before you might have accidentally set the "
        "batch_size to a large number.",
        "",
        Kind.MEMORY),
    "a CUDA call that runs out of memory": (
        "torch.AcceleratorError",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API "
        "call, so the stacktrace below might be incorrect.",
        "",
        Kind.MEMORY),
    "cuBLAS without workspace": (
        "RuntimeError",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "",
        Kind.MEMORY),
    "AMD": ("torch.OutOfMemoryError", "HIP out of memory. Tried to allocate 2.00 GiB.", "", Kind.MEMORY),
    "Apple": (
        "RuntimeError",
        "MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 1.1 GB, max allowed: 9.07 GB).",
        "",
        Kind.MEMORY),
    "main memory in torch": (
        "RuntimeError",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
        "to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)",
        "",
        Kind.MEMORY),
    "main memory in torch on Windows": (
        "RuntimeError",
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to "
        "allocate 68719476736 bytes.",
        "",
        Kind.MEMORY),
    "numpy": (
        "numpy._core._exceptions._ArrayMemoryError",
        "Unable to allocate 745. GiB for an array with shape (100000, 1000000) and data type float64",
        "",
        Kind.MEMORY),
    "Python": ("MemoryError", "", "", Kind.MEMORY),
    "Windows' page file": (
        "OSError",
        "The paging file is too small for this operation to complete. (os error 1455)",
        "",
        Kind.MEMORY),
    "the command line's sentence": (
        "RuntimeError",
        "The main memory is full: choose a smaller width and height or shorter segments, or close programs.",
        "",
        Kind.MEMORY),
    "the NLF node": (
        "RuntimeError",
        "NLF runs out of memory with a single frame of 8192x8192 pixels: use a smaller driving video.",
        "",
        Kind.MEMORY),
    # GPU
    "an illegal access": (
        "torch.AcceleratorError",
        "CUDA error: an illegal memory access was encountered\nSearch for `cudaErrorIllegalAddress' in the "
        "CUDA documentation",
        "",
        Kind.GPU),
    "ECC": ("RuntimeError", "CUDA error: uncorrectable ECC error encountered", "", Kind.GPU),
    "a launch failure": ("RuntimeError", "CUDA error: unspecified launch failure", "", Kind.GPU),
    "cuBLAS": (
        "RuntimeError",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(handle, ...)`",
        "",
        Kind.GPU),
    "cuBLAS inside": (
        "RuntimeError",
        "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasLtMatmul(...)`",
        "",
        Kind.GPU),
    "cuDNN": ("RuntimeError", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "", Kind.GPU),
    "cuDNN without memory": (
        "RuntimeError",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "",
        Kind.MEMORY),
    "an AMD card without memory": ("torch.AcceleratorError", "HIP error: out of memory", "", Kind.MEMORY),
    "cuDNN's execution": ("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "", Kind.GPU),
    "a GPU that is gone": ("RuntimeError", "CUDA error: no CUDA-capable device is detected", "", Kind.GPU),
    "a GPU that is busy": (
        "torch.AcceleratorError",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "",
        Kind.GPU),
    "a start without the GPU": (
        "RuntimeError",
        "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env "
        "variable CUDA_VISIBLE_DEVICES after program start.",
        "",
        Kind.GPU),
    "Triton": ("RuntimeError", "Triton Error [CUDA]: an illegal memory access was encountered", "", Kind.GPU),
    "the AMD driver": ("RuntimeError", "HIP error: unspecified launch failure", "", Kind.GPU),
    # a process that died, by its log
    "a process that a person killed": (
        "ProcessDied",
        "ComfyUI was killed (signal 9).",
        "Prompt executed in 3 s",
        Kind.PROCESS),
    "a process that died of its GPU": (
        "ProcessDied",
        "ComfyUI ended by itself (exit code 1).",
        "NVRM: GPU at PCI:0000:18:00: GPU has fallen off the bus.",
        Kind.GPU),
    "a process that died of memory": (
        "ProcessDied",
        "ComfyUI ended by itself (exit code 134).",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        Kind.MEMORY),
    "a closed socket": ("ConnectionResetError", "[Errno 104] Connection reset by peer", "", Kind.PROCESS),
    "a reference to a log that tells of memory": (
        "ValueError",
        "The width is 30 (width), but it must be a multiple of 32: choose 32.",
        "out of memory",
        Kind.INPUTS),
    # disks
    "our job folder": (
        "RuntimeError",
        "The job folder /jobs/a cannot be written (the disk is full): free space there, and run again; "
        "finished segments are kept.",
        "",
        Kind.DISK),
    "Python's": ("OSError", "[Errno 28] No space left on device", "", Kind.DISK),
    "a quota": ("OSError", "[Errno 122] Disk quota exceeded: '/home/a'", "", Kind.DISK),
    "Windows'": ("OSError", "[WinError 112] There is not enough space on the disk", "", Kind.DISK),
    "FFmpeg": ("av.error.OSError", "[Errno 28] No space left on device: '/out/a.mp4'", "", Kind.DISK),
    "safetensors": (
        "safetensors_rust.SafetensorError",
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "",
        Kind.DISK),
    "torch.save": (
        "RuntimeError",
        "PytorchStreamWriter failed writing file data/3: file write failed: No space left on device",
        "",
        Kind.DISK),
    "the space a job needs": (
        "RuntimeError",
        "The job folder /jobs/a needs at least 12 GB more and its disk has 3 GB free: make room, or choose "
        "another disk with --job_dir.",
        "",
        Kind.DISK),
    # NaN
    "our engine": (
        "ValueError",
        "The latent of segment 2 has NaN or infinite values after step 3 of 40: use a bf16 model file, or "
        "another attention backend, because models, prompts and pictures are sound.",
        "",
        Kind.NAN),
    "our engine's latents": (
        "ValueError",
        "The VAE's latents of the driving video in segment 1 hold NaN or infinite values: use another VAE "
        "file.",
        "",
        Kind.NAN),
    # inputs
    "a value": ("ValueError", "The width is 30 (width), but it must be a multiple of 32: choose 32.", "", Kind.INPUTS),
    "a damaged file": (
        "RuntimeError",
        "The driving video a.mp4 cannot be decoded at frame 3: save it again.",
        "",
        Kind.INPUTS),
    "a LoRA whose training failed": (
        "ValueError",
        "The LoRA a.safetensors holds NaN or infinite numbers, first in blocks.0: it is damaged or its "
        "training failed: use another one.",
        "",
        Kind.INPUTS),
    "too little memory before the start": (
        "ValueError",
        "The frames of a segment need 60 GiB of main memory, but 12 GiB are free: choose shorter segments.",
        "",
        Kind.MEMORY),
    "a missing file": ("FileNotFoundError", "[Errno 2] No such file or directory: '/in/a.png'", "", Kind.INPUTS),
    "a person": ("comfy.model_management.InterruptProcessingException", "", "", Kind.STOPPED),
}


@pytest.mark.parametrize(("exception", "message", "log", "kind"), MESSAGES.values(), ids=MESSAGES)
def test_kind_of_a_failure(exception, message, log, kind):
    assert classify(exception, message, log) is kind


def attempt(kind: Kind | None = None, *, state: str = FAILED, smaller: bool = False, forgiven: bool = False) -> Attempt:
    return Attempt("", "host", 1, "comfyui", state=state, kind=kind, smaller=smaller, forgiven=forgiven)


NEVER, NEW, PLAIN = Next(False), Next(True, new_process=True), Next(True)
SMALLER = Next(True, smaller=True, new_process=True)
# what happened, whether the row has smaller values, and what is done
HISTORIES = {
    "nothing yet": ([], False, PLAIN),
    "wrong inputs": ([attempt(Kind.INPUTS)], True, NEVER),
    "a process that died": ([attempt(Kind.PROCESS)], False, NEW),
    "a GPU that was lost": ([attempt(Kind.GPU)], False, NEW),
    "a process that died as often as a row may": ([attempt(Kind.PROCESS)] * 3, False, NEVER),
    "a process that died between other things": ([attempt(Kind.PROCESS), attempt(Kind.GPU), attempt(Kind.DISK)], False,
                                                 NEVER),
    "no memory": ([attempt(Kind.MEMORY)], False, NEVER),
    "no memory, with smaller values": ([attempt(Kind.MEMORY)], True, SMALLER),
    "no memory at the last attempt, with smaller values": ([attempt(Kind.PROCESS)] * 2 + [attempt(Kind.MEMORY)], True,
                                                           SMALLER),
    "no memory for smaller values": ([attempt(Kind.MEMORY), attempt(Kind.MEMORY, smaller=True)], True, NEVER),
    "smaller values, and a process that died": ([attempt(Kind.MEMORY), attempt(Kind.PROCESS, smaller=True)], True,
                                                SMALLER),
    "NaN": ([attempt(Kind.NAN)], False, NEW),
    "NaN again": ([attempt(Kind.NAN), attempt(Kind.NAN)], False, NEVER),
    "NaN again, with a dead process between": ([attempt(Kind.NAN), attempt(Kind.PROCESS), attempt(Kind.NAN)], False,
                                               NEVER),
    "a full disk": ([attempt(Kind.DISK)], False, Next(True, pause=60)),
    "a disk that stays full": ([attempt(Kind.DISK)] * 2, False, Next(True, pause=120)),
    "a disk that is full for ever": ([attempt(Kind.DISK)] * 3, False, NEVER),
    "stopped by a person": ([attempt(Kind.PROCESS)] * 2 + [attempt(Kind.STOPPED)], False, PLAIN),
    "stopped again and again": ([attempt(Kind.STOPPED)] * 5, False, PLAIN),
    "broken off with its driver": ([attempt(state=INTERRUPTED)] * 5 + [attempt(state=RUNNING)], False, PLAIN),
    "failed, before somebody asked for a retry": ([attempt(Kind.INPUTS, forgiven=True)] * 4, False, PLAIN),
}


@pytest.mark.parametrize(("attempts", "has_smaller", "expected"), HISTORIES.values(), ids=HISTORIES)
def test_what_follows(attempts, has_smaller, expected):
    row = Row("a", "row 1", None, {}, {"width": 64} if has_smaller else {}, "", Path())
    assert next_step(RowReport("a", attempts=tuple(attempts)), row, 3) == expected


def test_a_finished_row_is_left_alone():
    row = Row("a", "row 1", None, {}, {}, "", Path())
    assert next_step(RowReport("a", state=DONE, attempts=(attempt(state=DONE),)), row, 3) == NEVER
