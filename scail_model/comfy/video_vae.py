"""ComfyUI's VAE as this pack uses it: under its memory management and with its results to the bit, Wan's in less time.

Whether two ways to compute give the same bits is decided by the convolutions that cuDNN chooses for a GPU and a size.
So the first clip of each size begins both ways, and where they differ ComfyUI's own is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import comfy.model_management as management
import comfy.sd
import torch
from torch import Tensor

from ..kernels import causal_video
from . import wan_vae

logger = logging.getLogger(__name__)

_COMPARED = 3  # latent frames: a clip's first, and two that have frames before them
_equal: dict[tuple, bool] = {}  # what was found, by direction, device, dtype and size


def decode(vae, latent: Tensor) -> Tensor:
    """`vae.decode(latent)`: latent [1, 16, T', H', W'] -> frames [1, T, H, W, 3] in 0..1."""
    faster = latent.shape[0] == 1 and latent.shape[2] > _COMPARED and _is_faster(vae)
    found = _tried(vae, _decode, latent, latent.shape[3:]) if faster else None
    return vae.decode(latent) if found is None else found


def encode(vae, pixels: Tensor) -> Tensor:
    """`vae.encode(pixels)`: frames [T, H, W, 3] in 0..1 -> latent [1, 16, (T - 1) // 4 + 1, H / 8, W / 8]."""
    faster = (pixels.ndim == 4 and len(pixels) > 4 * _COMPARED and pixels.dtype == torch.float32
              and not any(size % 8 for size in pixels.shape[1:3]) and pixels.shape[3] == 3 and _is_faster(vae))
    found = _tried(vae, _encode, pixels, pixels.shape[1:3]) if faster else None
    return vae.encode(pixels) if found is None else found


def _is_faster(vae) -> bool:
    return (type(vae) is comfy.sd.VAE and vae.device.type == "cuda" and vae.vae_dtype.itemsize == 2
            and wan_vae.is_known(vae.first_stage_model) and causal_video.ready(vae.device))


def _tried(vae, way: Callable[..., Tensor | None], given: Tensor, size: Sequence[int]) -> Tensor | None:
    """None where the bits differ, or memory runs out: then ComfyUI works in tiles."""
    key = (way.__name__, str(vae.device), vae.vae_dtype, tuple(size), torch.backends.cudnn.benchmark)
    if not _equal.get(key, True):
        return None
    try:
        with management.cuda_device_context(vae.device):
            return way(vae, given, key)
    except Exception as error:
        management.raise_non_oom(error)
    management.soft_empty_cache()  # outside of the exception, which holds on to what was allocated
    return None


def _load(vae, memory: float) -> None:
    management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=vae.disable_offload)


def _decode(vae, latent: Tensor, key: tuple) -> Tensor | None:
    _load(vae, vae.memory_used_decode(latent.shape, vae.vae_dtype))
    z = latent.to(device=vae.device, dtype=vae.vae_dtype)
    model = vae.first_stage_model
    begun = [] if key in _equal else [model.decode(z[:, :, :_COMPARED])]
    pieces = wan_vae.Decoder(model, z).frames(z)
    if begun:
        pieces = _as_begun(begun.pop(), pieces, key)
    shape = (1, 3, 4 * z.shape[2] - 3, 8 * z.shape[3], 8 * z.shape[4])
    frames = torch.empty(shape, dtype=vae.vae_output_dtype(), device=vae.output_device)
    _collect(frames, (vae.process_output(piece.to(frames.dtype, copy=True)) for piece in pieces))
    return frames.movedim(1, -1) if _equal[key] else None


def _as_begun(expected: Tensor, pieces: Iterator[Tensor], key: tuple) -> Iterator[Tensor]:
    """The pieces, the first of which are compared; none after one that differs."""
    start = 0
    for piece in pieces:
        stop = start + piece.shape[2]
        if start < expected.shape[2] and not _note(key, piece, expected[:, :, start:stop]):
            return
        yield piece
        start = stop


def _encode(vae, pixels: Tensor, key: tuple) -> Tensor | None:
    pixels = pixels[: (len(pixels) - 1) // 4 * 4 + 1].movedim(-1, 0)[None]  # [1, 3, T, H, W]
    _load(vae, vae.memory_used_encode(pixels.shape, vae.vae_dtype))
    x = vae.process_input(pixels.to(vae.device)).to(vae.vae_dtype)
    model = vae.first_stage_model
    begun = [] if key in _equal else [model.encode(x[:, :, : 4 * _COMPARED - 3])]
    latent = wan_vae.Encoder(model, x).latent(x)
    if begun and not _note(key, latent[:, :, :_COMPARED], begun[0]):
        return None
    return latent.to(vae.output_device).to(vae.vae_output_dtype()).clone(memory_format=torch.contiguous_format)


def _note(key: tuple, found: Tensor, expected: Tensor) -> bool:
    _equal[key] = torch.equal(found, expected)
    if not _equal[key]:
        logger.info("SCAIL-2: the VAE runs as ComfyUI runs it, because the faster way differs by up to %g here "
                    "(%s).", (found.float() - expected.float()).abs().max(), key[0].strip("_"))
    return _equal[key]


def _collect(frames: Tensor, pieces: Iterable[Tensor]) -> None:
    """Write pieces [1, 3, t, H, W] into frames [1, 3, T, H, W] one after the other. Into main memory each travels while
    the GPU computes the next one."""
    start, under_way = 0, None
    spare: list[Tensor] = []
    for piece in pieces:
        stop = start + piece.shape[2]
        if frames.device == piece.device:
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
