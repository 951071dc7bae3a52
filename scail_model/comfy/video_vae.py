"""ComfyUI's VAE as this pack uses it: under its memory management and with its results to the bit, Wan's in less time.

Whether two ways to compute give the same bits is decided by the convolutions that cuDNN chooses for a GPU and a size.
So the first clip of each size begins both ways, and where they differ ComfyUI's own is kept.

Several GPUs decode in stages (`gpus.pipeline`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import comfy.model_management as management
import comfy.sd
import torch
from torch import Tensor

from ..gpus import pipeline
from ..kernels import causal_video
from ..preflight.budget import DECODING
from . import wan_vae

logger = logging.getLogger(__name__)

loading = threading.RLock()  # held while models are loaded or freed: core's memory management knows no threads
_COMPARED = 3  # latent frames: a clip's first, and two that have frames before them
_equal: dict[tuple, bool] = {}  # what was found, by direction, device, dtype and size


def _no_check() -> None:
    """Nobody but the user can end it."""


def decode(vae, latent: Tensor, others: Sequence[torch.device] = (), check: Callable[[], None] = _no_check) -> Tensor:
    """`vae.decode(latent)`: latent [1, 16, T', H', W'] -> frames [1, T, H, W, 3] in 0..1. others: GPUs that help the
    VAE's own, where they have the memory for it. check: called for every few frames, as ComfyUI's cancel is; what it
    raises ends all."""
    faster = latent.shape[0] == 1 and latent.shape[2] > _COMPARED and _is_faster(vae)
    found = _tried(vae, _decode, latent, latent.shape[3:], check, others) if faster else None
    if found is not None:
        return found
    with loading:  # in which it loads its weights
        return vae.decode(latent)


def encode(vae, pixels: Tensor, check: Callable[[], None] = _no_check) -> Tensor:
    """`vae.encode(pixels)`: frames [T, H, W, 3] in 0..1 -> latent [1, 16, (T - 1) // 4 + 1, H / 8, W / 8]. check: as in
    `decode`."""
    faster = (pixels.ndim == 4 and len(pixels) > 4 * _COMPARED and pixels.dtype == torch.float32
              and not any(size % 8 for size in pixels.shape[1:3]) and pixels.shape[3] == 3 and _is_faster(vae))
    found = _tried(vae, _encode, pixels, pixels.shape[1:3], check) if faster else None
    if found is not None:
        return found
    with loading:
        return vae.encode(pixels)


def _is_faster(vae) -> bool:
    return (type(vae) is comfy.sd.VAE and vae.device.type == "cuda" and vae.vae_dtype.itemsize == 2
            and wan_vae.is_known(vae.first_stage_model) and causal_video.ready(vae.device))


class _Differs(Exception):
    """The faster way has other bits."""


def _tried(vae, way: Callable[..., Tensor], given: Tensor, size: Sequence[int], check: Callable[[], None],
           others: Sequence[torch.device] = ()) -> Tensor | None:
    """On several GPUs or on one. None where the bits differ, or memory runs out: then ComfyUI works in tiles."""
    helping = _helping(vae, others, size)
    for devices in [(vae.device, *helping), (vae.device,)] if helping else [(vae.device,)]:
        key = (way.__name__, devices, vae.vae_dtype, tuple(size), torch.backends.cudnn.benchmark)
        if not _equal.get(key, True):
            continue
        try:
            with management.cuda_device_context(vae.device):
                return way(vae, given, key, check)
        except _Differs:
            continue
        except Exception as error:
            management.raise_non_oom(error)
        logger.info("SCAIL-2: the VAE ran out of memory on %s and tries again with less.", _named(devices))
        management.soft_empty_cache()  # outside of the exception, which holds on to what was allocated
    return None


def _helping(vae, others: Sequence[torch.device], size: Sequence[int]) -> list[torch.device]:
    """Those that can decode a part of frames of a latent's size, each once."""
    needed, found = DECODING.bytes(8 * size[1], 8 * size[0], 4 * _COMPARED), []
    for device in dict.fromkeys(others):
        if device == vae.device:
            continue
        with management.cuda_device_context(device):
            if not causal_video.ready(device):
                continue
            management.free_memory(needed, device)
            free = management.get_free_memory(device)
        if free >= needed:
            found.append(device)
        else:
            logger.info("SCAIL-2: the VAE does without %s, which has %.1f GiB of memory free and would need %.1f GiB.",
                        device, free / 2**30, needed / 2**30)
    return found


def _named(devices: Sequence[torch.device]) -> str:
    return ", ".join(map(str, devices))


def _load(vae, memory: float) -> None:
    with loading:
        management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=vae.disable_offload)


def _decode(vae, latent: Tensor, key: tuple, check: Callable[[], None] = _no_check) -> Tensor:
    _load(vae, vae.memory_used_decode(latent.shape, vae.vae_dtype))
    z = latent.to(device=vae.device, dtype=vae.vae_dtype)
    model = vae.first_stage_model
    begun = [] if key in _equal else [model.decode(z[:, :, :_COMPARED])]
    decoder = wan_vae.Decoder(model, z, key[1])
    shape = (1, 3, 4 * z.shape[2] - 3, 8 * z.shape[3], 8 * z.shape[4])
    frames = torch.empty(shape, dtype=vae.vae_output_dtype(), device=vae.output_device)

    def collect(pieces: Iterable[Tensor]) -> None:
        if begun:
            pieces = _as_begun(begun.pop(), pieces, key)
        _collect(frames, (vae.process_output(piece.to(frames.dtype, copy=True)) for piece in pieces))

    pipeline.run(decoder.devices, decoder.stages, decoder.pieces(z), collect, _also_cancelled(check))
    return frames.movedim(1, -1)


def _as_begun(expected: Tensor, pieces: Iterable[Tensor], key: tuple) -> Iterator[Tensor]:
    """The pieces, the first of which are compared. Raises _Differs."""
    start = 0
    for piece in pieces:
        stop = start + piece.shape[2]
        if start < expected.shape[2]:
            _compare(key, piece, expected[:, :, start:stop], last=stop >= expected.shape[2])
        yield piece
        start = stop


def _encode(vae, pixels: Tensor, key: tuple, check: Callable[[], None] = _no_check) -> Tensor:
    pixels = pixels[: (len(pixels) - 1) // 4 * 4 + 1].movedim(-1, 0)[None]  # [1, 3, T, H, W]
    _load(vae, vae.memory_used_encode(pixels.shape, vae.vae_dtype))
    x = vae.process_input(pixels.to(vae.device)).to(vae.vae_dtype)
    model = vae.first_stage_model
    begun = [] if key in _equal else [model.encode(x[:, :, : 4 * _COMPARED - 3])]
    latent = wan_vae.Encoder(model, x).latent(x, _also_cancelled(check))
    if begun:
        _compare(key, latent[:, :, :_COMPARED], begun[0], last=True)
    return latent.to(vae.output_device).to(vae.vae_output_dtype()).clone(memory_format=torch.contiguous_format)


def _also_cancelled(check: Callable[[], None]) -> Callable[[], None]:
    def checked() -> None:
        management.throw_exception_if_processing_interrupted()
        check()

    return checked


def _compare(key: tuple, found: Tensor, expected: Tensor, *, last: bool) -> None:
    """Note that the bits are the same after the `last` comparison. Raises _Differs."""
    expected = expected.to(found.device)
    if torch.equal(found, expected):
        if last:
            _equal[key] = True
        return
    _equal[key] = False
    logger.info("SCAIL-2: the VAE runs as ComfyUI runs it, because the faster way on %s differs by up to %g here "
                "(%s).", _named(key[1]), (found.float() - expected.float()).abs().max(), key[0].strip("_"))
    raise _Differs


def _collect(frames: Tensor, pieces: Iterable[Tensor]) -> None:
    """Write pieces [1, 3, t, H, W] into frames [1, 3, T, H, W] one after the other. Into main memory each travels while
    the GPU computes the next one."""
    start, under_way = 0, None
    spare: list[Tensor] = []
    for piece in pieces:
        stop = start + piece.shape[2]
        if piece.device.type == "cpu" or frames.device.type != "cpu":
            frames[:, :, start:stop] = piece
        else:
            held = spare.pop() if spare and spare[-1].shape == piece.shape else torch.empty(
                piece.shape, dtype=piece.dtype, pin_memory=True)
            held.copy_(piece, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
            if under_way is not None:
                spare.append(_land(frames, *under_way))
            under_way = start, held, arrived
        start = stop
    if under_way is not None:
        _land(frames, *under_way)


def _land(frames: Tensor, start: int, held: Tensor, arrived: torch.cuda.Event) -> Tensor:
    arrived.synchronize()
    frames[:, :, start : start + held.shape[2]] = held
    return held
