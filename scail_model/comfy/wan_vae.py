"""Wan's VAE over ComfyUI's own module: the same frames in fewer reads and copies.

ComfyUI's decoder stays what it is and where it is; its weights are read for one clip, and its parts at an eighth of the
size, which cost little, run as they are. From its first upsampling on, the channels of a pixel lie side by side, as
cuDNN wants them, a convolution's input is written where its last frames already stand, and what lies between two
convolutions is one kernel (`kernels.causal_video`). The decoder may be cut into stages on GPUs of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import comfy.ldm.wan.vae as core
import comfy.ops
import torch
from torch import Tensor, nn

from ..gpus import pipeline
from ..kernels import causal_video

_KNOWN = (core.WanVAE, core.Encoder3d, core.Decoder3d, core.CausalConv3d, core.RMS_norm, core.Resample,
          core.ResidualBlock, core.AttentionBlock, core.ops.Conv2d, nn.Sequential, nn.SiLU, nn.Dropout, nn.Upsample,
          nn.ZeroPad2d, nn.Identity)


def is_known(model: Any) -> bool:
    """Whether this is Wan 2.1's VAE in ComfyUI's own classes, unchanged."""
    return type(model) is core.WanVAE and all(
        type(part) in _KNOWN and not {"forward", "encode", "decode"} & vars(part).keys() for part in model.modules())


class Place(NamedTuple):
    """Where and how parts compute. home: where ComfyUI's weights are read, the VAE's device. folded: a convolution's
    results lack the bias, which the next kernel adds."""

    device: torch.device
    home: torch.device
    dtype: torch.dtype
    folded: bool

    @classmethod
    def of(cls, x: Tensor, device: torch.device | None = None) -> Place:
        """For a clip on the VAE's device, of parts on `device` or there too."""
        folded = x.element_size() == 2 and causal_video.ready(x.device)
        return cls(x.device if device is None else device, x.device, x.dtype, folded)


class Convolution:
    """A convolution with its weights at hand."""

    def __init__(self, layer: Any, place: Place) -> None:
        weight, bias, lent = comfy.ops.cast_bias_weight(layer, dtype=place.dtype, device=place.home,
                                                        bias_dtype=place.dtype, offloadable=True)
        last = torch.channels_last_3d if weight.ndim == 5 else torch.channels_last
        # copies, because what was lent goes back
        self.weight = torch.empty_like(weight, device=place.device, memory_format=last if place.folded
                                       else torch.contiguous_format).copy_(weight)
        copied = bias.to(place.device, copy=True)
        self.added, self.bias = (None, copied) if place.folded else (copied, None)
        comfy.ops.uncast_bias_weight(layer, weight, bias, lent)
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        """x [1, C, T, H, W] with the frames before it, or a single first frame; or pictures [T, C, H, W]."""
        if self.weight.ndim == 4:
            return self.layer._conv_forward(x, self.weight, self.added)
        first = {"autopad": "causal_zero"} if x.shape[2] == 1 else {}
        return self.layer._conv_forward(x, self.weight, self.added, **first)


class NormSilu:
    """RMS norm and SiLU before a convolution in time, whose last two input frames are kept."""

    def __init__(self, norm: core.RMS_norm, place: Place) -> None:
        self.gamma, self.scale = norm.gamma.to(place.device, place.dtype).flatten(), norm.scale
        self.before: Tensor | None = None

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        out, self.before = causal_video.norm_silu(x, bias, self.gamma, self.scale, self.before)
        return out


class Residual:
    """`core.ResidualBlock`."""

    def __init__(self, block: core.ResidualBlock, place: Place) -> None:
        norm1, _, conv1, norm2, _, _, conv2 = block.residual
        self.norm1, self.norm2 = NormSilu(norm1, place), NormSilu(norm2, place)
        self.conv1, self.conv2 = Convolution(conv1, place), Convolution(conv2, place)
        self.shortcut = None if isinstance(block.shortcut, nn.Identity) else Convolution(block.shortcut, place)

    def __call__(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x, None))
        y = self.conv2(self.norm2(y, self.conv1.bias))
        if self.shortcut is None:
            return causal_video.add_(y, self.conv2.bias, x)
        return causal_video.add_(y, self.conv2.bias, self.shortcut(x), self.shortcut.bias)


class Upsampling:
    """`core.Resample` of a decoder: twice the size and, but for the first frame, twice the frames."""

    def __init__(self, part: core.Resample, place: Place) -> None:
        self.in_time = Convolution(part.time_conv, place) if part.mode == "upsample3d" else None
        self.convolution = Convolution(part.resample[1], place)
        self.first, self.before = True, None

    def __call__(self, x: Tensor) -> Tensor:
        """[1, C, T, H, W] -> pictures [T or 2T, C / 2, 2H, 2W]."""
        if self.in_time is None or self.first:
            self.first = False
            pictures = causal_video.upsampled(x, None, False)
        else:
            y = self.in_time(_continued(self.before, x))
            self.before = x[:, :, -2:]
            pictures = causal_video.upsampled(y, self.in_time.bias, True)
        pictures = self.convolution(pictures)
        return causal_video.add_(pictures, self.convolution.bias)


class Downsampling:
    """`core.Resample` of an encoder, as it is."""

    def __init__(self, part: core.Resample) -> None:
        self.part, self.kept = part, [None, None]

    def __call__(self, x: Tensor, final: bool) -> Tensor | None:
        """[1, C, T, H, W] -> half the size and frames; None while a frame waits for its second."""
        return self.part(x, self.kept, [0], final=final)


class Encoder:
    """`core.Encoder3d` for one clip."""

    def __init__(self, model: core.WanVAE, x: Tensor) -> None:
        self.model, encoder = model, model.encoder
        place = Place.of(x)
        self.folded = place.folded
        layers = list(encoder.downsamples)
        small = max(index for index, layer in enumerate(layers) if isinstance(layer, core.Resample)) + 1
        self.first, self.before = Convolution(encoder.conv1, place), None
        self.large = [Downsampling(layer) if isinstance(layer, core.Resample) else Residual(layer, place)
                      for layer in layers[:small]]
        self.small = [*layers[small:], *encoder.middle]
        self.kept: list[Any] = [None] * core.count_cache_layers(encoder)

    def latent(self, x: Tensor, check: Callable[[], None]) -> Tensor:
        """x [1, 3, 4n + 1, H, W] in -1..1 -> the latent's mean [1, 16, n + 1, H / 8, W / 8]. check: called for each
        piece."""
        stops = range(1, x.shape[2] + 1, 2)  # one frame, then two at a time
        found = []
        for stop in stops:
            check()
            piece = self._piece(x[:, :, max(stop - 2, 0) : stop], stop == stops[-1])
            found += [] if piece is None else [piece]
        return self.model.conv1(torch.cat(found, dim=2)).chunk(2, dim=1)[0]

    def _piece(self, x: Tensor, final: bool) -> Tensor | None:
        y = causal_video.add_(self.first(_continued(self.before, x)), self.first.bias)
        self.before = x
        for part in self.large:
            if isinstance(part, Residual):
                y = part(_in_layout(y, self.folded))
                continue
            y = part(y, final)
            if y is None:
                return None
        return self._small(y.contiguous(), final)  # the order of sums over channels depends on the layout

    def _small(self, x: Tensor, final: bool) -> Tensor:
        """ComfyUI's own parts, as its encoder calls them."""
        place = [0]
        for block in self.small:
            x = block(x, self.kept, place, final=final)
        norm, silu, convolution = self.model.encoder.head
        x = silu(norm(x))
        before, self.kept[place[0]] = self.kept[place[0]], x[:, :, -core.CACHE_T :]
        return convolution(x, before)


class Start:
    """The decoder's beginning at an eighth of the size: ComfyUI's own parts, as its decoder calls them."""

    def __init__(self, decoder: core.Decoder3d, blocks: Sequence[nn.Module], place: Place) -> None:
        self.convolution, self.blocks = decoder.conv1, [*decoder.middle, *blocks]
        self.kept: list[Any] = [None] * core.count_cache_layers(decoder)
        self.folded = place.folded

    def __call__(self, x: Tensor) -> Tensor:
        place = [1]
        x, self.kept[0] = self.convolution(x, self.kept[0]), x[:, :, -core.CACHE_T :]
        for block in self.blocks:
            x = block(x, self.kept, place)
        return _in_layout(x, self.folded)


class Head:
    """The decoder's end."""

    def __init__(self, head: nn.Sequential, place: Place) -> None:
        norm, _, convolution = head
        self.norm, self.convolution = NormSilu(norm, place), Convolution(convolution, place)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.convolution(self.norm(x, None))
        return causal_video.add_(x, self.convolution.bias)


class Stage:
    """Parts of a decoder, one after the other on one device."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts

    def __call__(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Through all parts; two frames at a time after each doubling in time."""
        return chain.from_iterable(map(self._through, pieces))  # holds no piece, unlike a loop

    def _through(self, x: Tensor, first: int = 0) -> Iterator[Tensor]:
        for index, part in enumerate(self.parts[first:], first):
            if not isinstance(part, Upsampling):
                x = part(x)
                continue
            pictures = part(x)
            for start in range(0, len(pictures), 2):
                yield from self._through(pictures[start : start + 2].movedim(0, 1)[None], index + 1)
            return
        yield x


class Decoder:
    """`core.Decoder3d` for one clip, in a stage for each device of which the first is the VAE's. There may be fewer
    stages than `devices`."""

    def __init__(self, model: core.WanVAE, z: Tensor, devices: Sequence[torch.device] = ()) -> None:
        self.model, decoder = model, model.decoder
        layers = list(decoder.upsamples)
        small = next(index for index, layer in enumerate(layers) if isinstance(layer, core.Resample))
        beginning, large = layers[:small], layers[small:]
        makers = [partial(Start, decoder, beginning),
                  *(partial(Upsampling if isinstance(layer, core.Resample) else Residual, layer) for layer in large),
                  partial(Head, decoder.head)]
        parts = [nn.ModuleList([decoder.conv1, decoder.middle, *beginning]), *large, decoder.head]
        cuts = pipeline.cuts(pipeline.decoder_costs(parts), max(len(devices), 1))
        self.devices = tuple(devices[: len(cuts)]) or (z.device,)
        self.stages = [Stage([make(Place.of(z, device)) for make in makers[cut]])
                       for cut, device in zip(cuts, self.devices, strict=True)]

    def pieces(self, z: Tensor) -> Iterator[Tensor]:
        """z [1, 16, T, H, W] -> what the first stage reads: one latent frame, then two at a time."""
        x = self.model.conv2(z)
        yield x[:, :, :1]
        for start in range(1, z.shape[2], 2):
            yield x[:, :, start : start + 2]


def _in_layout(x: Tensor, folded: bool) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d) if folded else x


def _continued(before: Tensor | None, x: Tensor) -> Tensor:
    """x after the last two frames of the piece before; a first frame alone, and zeros where there was no other."""
    if before is None and x.shape[2] == 1:
        return x
    if before is None:
        before = torch.zeros_like(x[:, :, :2])
    elif before.shape[2] == 1:
        before = torch.cat((torch.zeros_like(before), before), dim=2)
    return torch.cat((before, x), dim=2)
