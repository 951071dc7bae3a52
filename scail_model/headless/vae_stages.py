"""diffusers' Wan VAE in stages on GPUs of their own (`gpus.pipeline`), with its own modules and so with its own bits.

Its encoder and decoder read a clip a piece at a time, a latent frame or the frames of one, and each convolution in time
keeps the end of its last input. So they can be cut between any two of their modules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanDecoder3d, WanEncoder3d
from torch import Tensor, nn

from ..gpus import pipeline


class Stages:
    """An encoder or a decoder on one device or several, of which the first is its own; the others get copies of
    modules. There may be fewer stages than `devices`."""

    def __init__(self, coder: WanEncoder3d | WanDecoder3d, devices: Sequence[torch.device]) -> None:
        parts = _parts(coder)
        cuts = pipeline.cuts(pipeline.vae_costs(parts), len(devices))
        self.devices = tuple(devices[: len(cuts)])
        self._stages = [nn.ModuleList(parts[cut]) for cut in cuts]
        for number in range(1, len(cuts)):
            self._stages[number] = copy.deepcopy(self._stages[number]).to(self.devices[number])

    def run(self, pieces: Iterable[Tensor], use: Callable[[Iterable[Tensor]], None], check: Callable[[], None]) -> None:
        """Hand `use` what comes of the pieces, on the last device, in that one's thread. check: called before each
        piece by the thread of each device; what it raises ends all."""
        stages = [partial(_through, stage) for stage in self._stages]
        pipeline.run(self.devices, stages, pieces, use, check)


class _Convolution(nn.Module):
    """A convolution in time at the beginning or end, whose input's last frames diffusers' coder keeps for it."""

    def __init__(self, *before: nn.Module, convolution: WanCausalConv3d) -> None:
        super().__init__()
        self.before, self.convolution = nn.Sequential(*before), convolution

    def forward(self, x: Tensor, feat_cache: list[Any], feat_idx: list[int]) -> Tensor:
        x = self.before(x)
        kept, after = feat_cache[0], x[:, :, -2:].clone()
        if after.shape[2] < 2 and kept is not None:
            after = torch.cat((kept[:, :, -1:], after), dim=2)
        x, feat_cache[0] = self.convolution(x, kept), after
        return x


def _parts(coder: WanEncoder3d | WanDecoder3d) -> list[nn.Module]:
    """Everything that can stand on a device of its own, in order; called with (x, feat_cache, feat_idx)."""
    if isinstance(coder, WanDecoder3d):
        ups: Any = coder.up_blocks
        blocks = [coder.mid_block, *(part for block in ups for part in (*block.resnets, *(block.upsamplers or [])))]
    else:
        blocks = [*coder.down_blocks, coder.mid_block]
    return [_Convolution(convolution=coder.conv_in), *blocks,
            _Convolution(coder.norm_out, coder.nonlinearity, convolution=coder.conv_out)]


def _through(parts: Iterable[nn.Module], pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    kept = [(part, [None] * len(list(part.modules()))) for part in parts]  # each takes as many places as it needs

    def through(x: Tensor) -> Tensor:
        for part, feat_cache in kept:
            x = part(x, feat_cache=feat_cache, feat_idx=[0])
        return x

    return map(through, pieces)
