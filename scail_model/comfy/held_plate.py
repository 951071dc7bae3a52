"""The plate lock in ComfyUI: a conditioning value that takes part in every call of the network, with any sampler.

It stands where a ControlNet would: ComfyUI calls such a value while it samples with any MODEL under any sampler, and
does not load the MODEL in another way for it, as for hooks. It adds nothing to what the network computes, but wraps the
call and puts the plate into the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from comfy.controlnet import ControlBase
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..plate.lock import Holding, PlateLock

_KEY = "scail2_plate"


class HeldPlate(ControlBase):
    """A lock, its plate as ComfyUI's VAE gives it. One object serves both prompts of a sampling."""

    def __init__(self, lock: PlateLock) -> None:
        super().__init__()
        self.lock = lock
        self._holding = Holding(lock)

    def pre_run(self, model, percent_to_timestep_function) -> None:
        """Begin a sampling."""
        super().pre_run(model, percent_to_timestep_function)
        self._holding = Holding(self.lock.normalised(model.process_latent_in))

    def cleanup(self) -> None:
        """End it: the conditioning is kept by ComfyUI, and a copy of the plate on the GPU would be too."""
        super().cleanup()
        self._holding = Holding(self.lock)

    def get_control(self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], batched_number: int,
                    transformer_options: dict[str, Any]) -> None:
        """Wrap the call that follows. Raises ValueError for a latent of another size than the plate."""
        frames = _frames(transformer_options)
        count, (height, width) = self.lock.plate.shape[2], self.lock.plate.shape[3:]
        if x_noisy.shape[3:] != (height, width) or (frames is None and x_noisy.shape[2] != count):
            raise ValueError(f"The latent has {x_noisy.shape[2]} frames of {x_noisy.shape[4]}x{x_noisy.shape[3]} "
                             f"cells, but the plate that is held has {count} of {width}x{height}: sample the latent "
                             "that Build SCAIL-2 Motion Latent gives, or set plate to off there.")
        wrappers = transformer_options.get("wrappers", {})
        held = partial(self._held, positive=[number == 0 for number in transformer_options["cond_or_uncond"]],
                       frames=frames)
        # a copy: the options are those of all calls
        transformer_options["wrappers"] = {
            **wrappers, WrappersMP.APPLY_MODEL: {**wrappers.get(WrappersMP.APPLY_MODEL, {}), _KEY: [held]}}

    def deepclone_multigpu(self, load_device, autoregister: bool = False) -> HeldPlate:
        """Itself: what is found of the people on one GPU counts on all."""
        return self

    def _held(self, executor: Callable[..., Tensor], x: Tensor, t: Tensor, *given: Any, positive: Sequence[bool],
              frames: Sequence[int] | None, **more: Any) -> Tensor:
        answer = executor(x, t, *given, **more)
        to_positive = [part for part, is_positive in zip(answer.chunk(len(positive)), positive, strict=True)
                       if is_positive]
        return self._holding.held(answer, float(t[0]), frames=frames,
                                  positive=torch.cat(to_positive) if to_positive else None)


def _frames(transformer_options: dict[str, Any]) -> list[int] | None:
    """The latent frames of core's context window, None for all."""
    window = transformer_options.get("context_window")
    if window is None:
        return None
    anchor = getattr(window, "causal_anchor_index", None)
    return [*([] if anchor is None or anchor < 0 else [anchor]), *window.index_list]
