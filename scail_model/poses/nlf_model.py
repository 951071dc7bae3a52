"""NLF itself, over the user's own torchscript file: loaded, and run over a video as the official script runs it.

Each person is detected alone: everything outside of the person's mask is painted green, and the first detection counts
(`run_nlf_from_masks` of SCAIL-Pose). NLF's weights are for research only, so they are neither shipped nor fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import same_shape
from ..identity.mask_set import MaskSet, at_size
from ..identity.mask_sources import Source
from ..media.clips import Clip
from .detections import SETTLED, Bodies, finite, not_finite_note
from .nlf import read_nlf
from .value import SMPL_JOINTS, from_smpl, official_camera

_OUTSIDE = torch.tensor((0, 100, 0), dtype=torch.uint8)  # RGB
_BATCH = 64  # frames, as in the official script
_DETECT, _JOINTS = "detect_smpl_batched", "joints3d_nonparam"
_PATCHED = ("script", "load")  # functions of torch.jit that other packs replace, after which NLF's file does not run


def is_nlf(value: Any) -> bool:
    """Whether a value is NLF's module, of this loader or another pack's."""
    return hasattr(value, _DETECT)


def load_nlf(path: str | os.PathLike) -> Any:
    """Load NLF's torchscript file, on the CPU.

    Raises RuntimeError if torchvision is missing, whose operators the file uses; if torch.jit was replaced by another
    pack; and for another file.
    """
    try:
        import torchvision  # noqa: F401  its operators have to be known before the file is read
    except ImportError as error:
        raise RuntimeError(f"NLF needs torchvision, which cannot be imported ({error}): install the torchvision that "
                           "belongs to your PyTorch.") from error
    if not Path(path).is_file():
        raise RuntimeError(f"{path} is not a file, but should be NLF's torchscript file: check the path.")
    for name in _PATCHED:
        _refuse_patched(name, torch.jit)
    try:
        model = torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise RuntimeError(f"{Path(path).name} cannot be loaded as a torchscript file ({_first_sentence(error)}): use "
                           "NLF's file as its authors publish it, such as nlf_l_multi_0.3.2.torchscript.") from error
    if not is_nlf(model):
        raise RuntimeError(f"{Path(path).name} is a torchscript file, but it has no {_DETECT}: use NLF's file as its "
                           "authors publish it, such as nlf_l_multi_0.3.2.torchscript.")
    return model


def detect(model: Any, clip: Clip, masks: Source | None = None, *, device: torch.device | str = "cpu",
           told: Callable[[int], None] = lambda frames: None) -> Bodies:
    """Run NLF over a clip; with masks, for each of their people alone, who are SETTLED then. The model stays on the
    device.

    told: called with the number of frames that are ready, now and then. Raises ValueError for masks of another length
    or shape, RuntimeError if not even one frame fits into memory.
    """
    if masks is not None:
        _check(clip, masks.mask_set)
    model.to(device)
    batch, frame, found = _BATCH, 0, []
    while frame < len(clip):
        stretch = clip.read(frame, min(frame + batch, len(clip)))
        try:
            found += _detected(model, stretch, None if masks is None else masks.mask_set, frame, device)
        except (RuntimeError, torch.jit.Error) as error:  # torchscript has no class of its own for a lack of memory
            if "out of memory" not in str(error):
                raise
            if len(stretch) == 1:
                raise RuntimeError(f"NLF runs out of memory with a single frame of {clip.width}x{clip.height} pixels: "
                                   "free memory, or use a smaller video.") from error
            batch = len(stretch) // 2
            continue
        frame += len(stretch)
        told(frame)
    if masks is None:
        return read_nlf(found, clip.size)
    return Bodies(tuple(from_smpl(finite(people)) for people in found), clip.size, official_camera(*clip.size), SETTLED,
                  notes=not_finite_note(found))


def _detected(model: Any, frames: Tensor, masks: MaskSet | None, first: int, device: torch.device | str
              ) -> list[Tensor]:
    """People of each frame, [n, 24, 3]; with masks, a place for each person, zeros for those who are not found."""
    if masks is None:
        return _answer(model, frames, device)
    made = torch.zeros(len(frames), masks.people, SMPL_JOINTS, 3)
    shown = [at_size(masks.frame(first + index), frames.shape[1:3]) for index in range(len(frames))]
    for person in range(masks.people):
        there = [index for index, mask in enumerate(shown) if mask[person].any()]
        if there:
            inside = torch.from_numpy(np.stack([shown[index][person] for index in there]))
            alone = torch.where(inside[..., None], frames[there], _OUTSIDE)
            for index, people in zip(there, _answer(model, alone, device), strict=True):
                if len(people):
                    made[index, person] = people[0]
    return list(made)


def _answer(model: Any, frames: Tensor, device: torch.device | str) -> list[Tensor]:
    """frames: uint8 [n, h, w, 3]. The field of view is NLF's default, 55 degrees."""
    with torch.inference_mode():
        answer = model.detect_smpl_batched(frames.movedim(-1, 1).contiguous().to(device))
    if _JOINTS not in answer:
        raise RuntimeError(f"The NLF model answers {', '.join(answer) or 'nothing'}, but no {_JOINTS}: use NLF's file "
                           "as its authors publish it, such as nlf_l_multi_0.3.2.torchscript.")
    return [people.float().cpu() for people in answer[_JOINTS]]


def _check(clip: Clip, masks: MaskSet) -> None:
    if len(masks) != len(clip):
        raise ValueError(f"The driving video has {len(clip)} frames, but the masks have {len(masks)}: make the masks "
                         "from the same video.")
    if not same_shape(masks.size, clip.size):
        raise ValueError(f"The masks ({masks.width}x{masks.height} pixels) and the driving video ({clip.width}x"
                         f"{clip.height}) have different shapes: make the masks from the same video.")


def _refuse_patched(name: str, jit: ModuleType) -> None:
    """Raise RuntimeError if a function of torch.jit is not PyTorch's own."""
    code = getattr(getattr(jit, name), "__code__", None)
    written = Path(code.co_filename) if code else None
    if written is None or Path(torch.__file__).parent not in written.parents:
        raise RuntimeError(f"torch.jit.{name} was replaced by another pack ({written or 'unknown'}), and NLF's file "
                           "does not run with it: disable that pack, and start again.")


def _first_sentence(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else type(error).__name__
