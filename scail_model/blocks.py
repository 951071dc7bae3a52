"""The parts of the SCAIL-2 transformer: block, output head, image embedding and the timestep's sinusoid.

Official: `WanAttentionBlock`, `Head`, `MLPProj`, `sinusoidal_embedding_1d` in `wan/modules`. The residual stream,
the modulation and every norm are float32; linears and attention compute in the model's dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import AttentionFunction, CrossAttention, ParametersFunction, SelfAttention
from .config import CLIP_DIM, TransformerConfig
from .kernels import elementwise
from .kernels.linears import FullPrecision, Input


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward on the residual stream.

    The stream is the largest tensor that lives through the whole network, so without gradients a block overwrites its
    input: whoever wants to keep it hands in a copy.
    """

    def __init__(self, config: TransformerConfig, operations, attention: AttentionFunction,
                 parameters: ParametersFunction, arithmetic: FullPrecision, device=None, dtype=None) -> None:
        super().__init__()
        dim, factory = config.dim, {"device": device, "dtype": dtype}
        self.eps, self.parameters_of, self.arithmetic = config.eps, parameters, arithmetic
        self.self_attn = SelfAttention(config, operations, attention, parameters, arithmetic, **factory)
        self.norm3 = operations.LayerNorm(dim, eps=config.eps, **factory)
        self.cross_attn = CrossAttention(config, operations, attention, parameters, arithmetic, **factory)
        self.ffn = nn.Sequential(
            operations.Linear(dim, config.ffn_dim, **factory), GELU(), operations.Linear(config.ffn_dim, dim, **factory)
        )
        self.modulation = modulation_parameter(6, dim, **factory)

    def forward(self, x: Tensor, modulation: Tensor, rotation: tuple[Tensor, Tensor], context: Tensor,
                queries: slice | None = None, transformer_options: dict[str, Any] | None = None,
                rows: int | None = None) -> Tensor:
        """x float32 [B, L, dim], modulation float32 [B, 6, dim], rotation 2x float32 [L, 64], context [B, M, dim]
        in the compute dtype -> float32 [B, L, dim]; with `queries` only these rows of it, exactly.

        rows: so many are worked on at a time, which needs 8 bytes per value of the stream and few for those rows,
        instead of 14, and changes nothing in the result.
        """
        scales = (self.modulation.to(x.device, torch.float32) + modulation).chunk(6, dim=1)  # each [B, 1, dim]
        _, _, gate1, shift2, scale2, gate2 = scales
        arithmetic, dtype = self.arithmetic, context.dtype
        wanted = slice(0, x.shape[1]) if queries is None else queries
        at_once = rows is None or rows >= x.shape[1]
        sources = self.cross_attn.sources_of(context)
        if at_once:
            rows = x.shape[1]
            normalised = self.before_attention(x, scales, dtype)
            keys, values = self.self_attn.keys_and_values(normalised, rotation)
            normalised = normalised[:, wanted]
        else:
            keys, values = self.chunked_keys_and_values(x, rotation, scales, dtype, rows)
            out = x[:, wanted].clone() if torch.is_grad_enabled() else x[:, wanted]
        sequence = self.self_attn.over(keys, values, transformer_options)
        del keys, values  # every name that is dropped here lowers the peak
        for start in range(wanted.start, wanted.stop, rows):
            part = slice(start, min(start + rows, wanted.stop))
            stream = x[:, part]
            if not at_once:
                normalised = self.before_attention(stream, scales, dtype)
            q = self.self_attn.queries(normalised, _rows(rotation, part))
            del normalised
            attended = self.self_attn(q, sequence)
            del q
            if at_once:
                del sequence
            stream, norm3 = arithmetic.add_norm_(stream, attended, gate1, *self.affine(self.norm3, x), self.eps, dtype,
                                                 self.cross_attn.q)
            del attended
            crossed = self.cross_attn(norm3, sources, transformer_options)
            del norm3
            stream, middle = arithmetic.add_norm_(stream, crossed, None, 1 + scale2, shift2, self.eps, dtype,
                                                  self.ffn[0])
            del crossed
            stream = elementwise.add_gated_(stream, arithmetic.feed_forward(self.ffn, middle), gate2)
            del middle
            if at_once:
                return stream
            _put(stream, out[:, start - wanted.start : part.stop - wanted.start])
        return out

    def chunked_keys_and_values(self, x: Tensor, rotation: tuple[Tensor, Tensor], scales: Sequence[Tensor],
                                dtype: torch.dtype, rows: int) -> tuple[Tensor, Tensor]:
        keys, values = (torch.empty(x.shape, dtype=dtype, device=x.device) for _ in range(2))
        for start in range(0, x.shape[1], rows):
            part = slice(start, start + rows)
            normalised = self.before_attention(x[:, part], scales, dtype)
            keys[:, part], values[:, part] = self.self_attn.keys_and_values(normalised, _rows(rotation, part))
        return keys, values

    def before_attention(self, x: Tensor, scales: Sequence[Tensor], dtype: torch.dtype) -> Input:
        shift, scale, *_ = scales
        return self.arithmetic.norm(x, 1 + scale, shift, self.eps, dtype, self.self_attn.q)

    def affine(self, norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.parameters_of(norm, x)
        return weight[None, None], bias[None, None]  # [1, 1, dim]


def modulation_parameter(rows: int, dim: int, device=None, dtype=None) -> nn.Parameter:
    """[1, rows, dim], spread as in the official initialisation."""
    # drawn in float32, because 8-bit dtypes have no random numbers
    return nn.Parameter((torch.randn(1, rows, dim, device=device) / dim**0.5).to(dtype=dtype))


def _put(part: Tensor, place: Tensor) -> None:
    """Write a part of the stream to its place, unless it has been made there."""
    if part.data_ptr() != place.data_ptr():
        place.copy_(part)


def _rows(rotation: tuple[Tensor, Tensor], part: slice) -> tuple[Tensor, Tensor]:
    cos, sin = rotation
    return cos[part], sin[part]


class GELU(nn.Module):
    """GELU in its tanh form."""

    def forward(self, x: Tensor) -> Tensor:
        return elementwise.gelu(x)


class Head(nn.Module):
    """Modulated norm and the linear that turns a token into a latent patch, all float32."""

    def __init__(self, config: TransformerConfig, operations, parameters: ParametersFunction, device=None,
                 dtype=None) -> None:
        super().__init__()
        t, h, w = config.patch_size
        self.eps, self.parameters_of = config.eps, parameters
        self.head = operations.Linear(config.dim, t * h * w * config.out_dim, device=device, dtype=dtype)
        self.modulation = modulation_parameter(2, config.dim, device, dtype)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x float32 [B, L, dim], time embedding float32 [B, dim] -> float32 [B, L, patch values]."""
        shift, scale = (self.modulation.to(x.device, torch.float32) + embedding[:, None]).chunk(2, dim=1)
        x = elementwise.layer_norm(x, 1 + scale, shift, self.eps, torch.float32)
        return F.linear(x, *self.parameters_of(self.head, x))


class ImageEmbedding(nn.Module):
    """CLIP features [B, 257, 1280] -> context tokens [B, 257, dim]; exact GELU, LayerNorms at PyTorch's default eps."""

    def __init__(self, config: TransformerConfig, operations, parameters: ParametersFunction, device=None,
                 dtype=None) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.parameters_of = parameters
        self.proj = nn.Sequential(
            operations.LayerNorm(CLIP_DIM, **factory),
            operations.Linear(CLIP_DIM, CLIP_DIM, **factory),
            nn.GELU(),
            operations.Linear(CLIP_DIM, config.dim, **factory),
            operations.LayerNorm(config.dim, **factory),
        )

    def forward(self, features: Tensor, dtype: torch.dtype) -> Tensor:
        norm_in, linear1, gelu, linear2, norm_out = self.proj
        x = self.norm(norm_in, features).to(dtype)
        return self.norm(norm_out, linear2(gelu(linear1(x)))).to(dtype)

    def norm(self, layer: nn.Module, x: Tensor) -> Tensor:
        x = x.float()
        return F.layer_norm(x, x.shape[-1:], *self.parameters_of(layer, x), eps=1e-5)


def timestep_sinusoid(timestep: Tensor, size: int) -> Tensor:
    """Timestep [B] in 0..1000 -> float32 [B, size], cosines first; angles in float64, as the official code has them."""
    half = size // 2
    # only CPU and CUDA are sure to have float64; elsewhere a copy of B numbers costs nothing
    position = timestep.to(timestep.device if timestep.device.type in ("cpu", "cuda") else "cpu", torch.float64)
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=position.device) / half)
    angles = torch.outer(position, frequencies)  # [B, half]
    return torch.cat((angles.cos(), angles.sin()), dim=1).to(timestep.device, torch.float32)
