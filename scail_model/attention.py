"""Attention of a SCAIL-2 block: over all tokens with rotary positions, and from the tokens to text and image.

Parameter names are those of `WanSelfAttention` and `WanI2VCrossAttention` (official `wan/modules`). The attention
function is injected; its convention is ComfyUI's: q, k, v [B, L, heads * 128] in, the same shape out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import elementwise
from .config import CLIP_TOKENS, TransformerConfig

AttentionFunction = Callable[..., Tensor]
ParametersFunction = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor | None]]


def sdpa(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None = None) -> Tensor:
    """PyTorch's scaled dot product attention, q [B, L, heads * 128], k and v [B, M, heads * 128]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, 128]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def float32_parameters(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer in float32 on x's device: for the parts that stay float32 in every precision."""
    weight, bias = layer.weight, getattr(layer, "bias", None)
    return weight.to(x.device, torch.float32), None if bias is None else bias.to(x.device, torch.float32)


class SelfAttention(nn.Module):
    """Full attention over the whole sequence. `x` [B, L, dim] -> [B, L, dim], or [B, rows, dim] for `queries`."""

    def __init__(self, config: TransformerConfig, operations, attention: AttentionFunction,
                 parameters: ParametersFunction, device=None, dtype=None) -> None:
        super().__init__()
        dim, factory = config.dim, {"device": device, "dtype": dtype}
        self.heads, self.eps = config.num_heads, config.eps
        self.attention, self.parameters_of = attention, parameters
        self.q = operations.Linear(dim, dim, **factory)
        self.k = operations.Linear(dim, dim, **factory)
        self.v = operations.Linear(dim, dim, **factory)
        self.o = operations.Linear(dim, dim, **factory)
        self.norm_q = operations.RMSNorm(dim, eps=config.eps, **factory)
        self.norm_k = operations.RMSNorm(dim, eps=config.eps, **factory)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], queries: slice | None = None,
                transformer_options: dict[str, Any] | None = None) -> Tensor:
        cos, sin = rotation
        rows = slice(None) if queries is None else queries
        q = self.normalise(self.norm_q, self.q(x[:, rows]), (cos[rows], sin[rows]))
        k = self.normalise(self.norm_k, self.k(x), rotation)
        attended = self.attention(q, k, self.v(x), heads=self.heads, transformer_options=transformer_options)
        del q, k
        return self.o(attended)

    def normalise(self, norm: nn.Module, x: Tensor, rotation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        return elementwise.rms_norm(x, self.parameters_of(norm, x)[0], self.eps, rotation)


class CrossAttention(SelfAttention):
    """Attention to the image tokens and to the text tokens, each with keys of its own; the two results are added.

    `context` [B, 257 + text_len, dim] holds the image tokens first, or only text where there is no image.
    """

    def __init__(self, config: TransformerConfig, operations, attention: AttentionFunction,
                 parameters: ParametersFunction, device=None, dtype=None) -> None:
        super().__init__(config, operations, attention, parameters, device, dtype)
        dim, factory = config.dim, {"device": device, "dtype": dtype}
        self.text_len = config.text_len
        self.k_img = operations.Linear(dim, dim, **factory)
        self.v_img = operations.Linear(dim, dim, **factory)
        self.norm_k_img = operations.RMSNorm(dim, eps=config.eps, **factory)

    def forward(self, x: Tensor, context: Tensor, transformer_options: dict[str, Any] | None = None) -> Tensor:
        image, text = context[:, : -self.text_len], context[:, -self.text_len :]
        q = self.normalise(self.norm_q, self.q(x))
        attended = self.attend(q, self.normalise(self.norm_k, self.k(text)), self.v(text), transformer_options)
        if image.shape[1] == CLIP_TOKENS:
            k_img = self.normalise(self.norm_k_img, self.k_img(image))
            attended = attended + self.attend(q, k_img, self.v_img(image), transformer_options)
        del q
        return self.o(attended)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, transformer_options: dict[str, Any] | None) -> Tensor:
        return self.attention(q, k, v, heads=self.heads, transformer_options=transformer_options)
