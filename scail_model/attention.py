"""Attention of a SCAIL-2 block: over all tokens with rotary positions, and from the tokens to text and image.

Parameter names are those of `WanSelfAttention` and `WanI2VCrossAttention` (official `wan/modules`). The attention
function is injected; its convention is ComfyUI's: q, k, v [B, L, heads * 128] in, the same shape out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import CLIP_TOKENS, TransformerConfig
from .gpus.attention import ACROSS, Across, Projections
from .kernels import elementwise
from .kernels.attention_choice import AttentionFunction, QueryFunction
from .kernels.linears import FullPrecision, Input

ParametersFunction = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor | None]]
Rotation = tuple[Tensor, Tensor]  # cos and sin of each row, float32 [n, 64]
Pair = tuple[Tensor, Tensor]  # keys and values of a source, [B, n, dim]
NEGATIVE = "scail2_negative"  # where `transformer_options` hold a `Negative`


@dataclass
class Negative:
    """What attention to text is steered away from: another text [B, 512, dim], embedded, and how far
    (`elementwise.nag_mix`). read: whether `CrossAttention.forward` has, which other nodes exchange."""

    text: Tensor
    strength: float
    read: bool = False


class Sources(NamedTuple):
    """What cross-attention attends to. image: None without one. negative: the text to steer away from, if there is
    one."""

    text: Pair
    image: Pair | None
    negative: Pair | None
    strength: float


def sdpa(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None = None) -> Tensor:
    """PyTorch's scaled dot product attention, q [B, L, heads * 128], k and v [B, M, heads * 128]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, 128]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def float32_parameters(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer in float32 on x's device: for the parts that stay float32 in every precision."""
    weight, bias = cast(Tensor, layer.weight), getattr(layer, "bias", None)
    return weight.to(x.device, torch.float32), None if bias is None else bias.to(x.device, torch.float32)


class _Attention(nn.Module):
    """The layers that both kinds of attention have."""

    def __init__(self, config: TransformerConfig, operations, attention: AttentionFunction,
                 parameters: ParametersFunction, linears: FullPrecision, device=None, dtype=None) -> None:
        super().__init__()
        dim, factory = config.dim, {"device": device, "dtype": dtype}
        # nodes for Wan models read these names
        self.num_heads, self.head_dim, self.eps = config.num_heads, dim // config.num_heads, config.eps
        self.attention, self.parameters_of, self.product = attention, parameters, linears.product
        self.q = operations.Linear(dim, dim, **factory)
        self.k = operations.Linear(dim, dim, **factory)
        self.v = operations.Linear(dim, dim, **factory)
        self.o = operations.Linear(dim, dim, **factory)
        self.norm_q = operations.RMSNorm(dim, eps=config.eps, **factory)
        self.norm_k = operations.RMSNorm(dim, eps=config.eps, **factory)

    def queries(self, x: Input, rotation: Rotation | None = None) -> Tensor:
        """Of the rows x [B, n, dim] with their rotations [n, 64]: [B, n, dim]."""
        return self.normalise(self.norm_q, self.product(self.q, x), rotation)

    def normalise(self, norm: nn.Module, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        return elementwise.rms_norm(x, self.parameters_of(norm, x)[0], self.eps, rotation)


class SelfAttention(_Attention):
    """Full attention over the whole sequence, in two steps, so that the queries may come a few rows at a time."""

    def keys(self, x: Input, rotation: Rotation) -> Tensor:
        """Of the rows x [B, n, dim] with their rotations [n, 64]: [B, n, dim]."""
        return self.normalise(self.norm_k, self.product(self.k, x), rotation)

    def values(self, x: Input, rotation: Rotation) -> Tensor:
        """As `keys`; values are not rotated."""
        return self.product(self.v, x)

    def keys_and_values(self, x: Input, rotation: Rotation) -> tuple[Tensor, Tensor]:
        return self.keys(x, rotation), self.values(x, rotation)

    def needs_all_queries(self, transformer_options: dict[str, Any] | None = None) -> bool:
        """Whether the queries of all rows must come at once. An attention function for which that is so has a method of
        this name that says it: one that takes only as many queries as keys, or reads where a row stands."""
        needs = getattr(self.attention, "needs_all_queries", None)
        return needs is not None and needs(transformer_options)

    def queries_together(self, transformer_options: dict[str, Any] | None = None) -> bool:
        """Whether all queries that are asked for must come in one call, because the result of one depends on the others
        (`Backend.queries_together`)."""
        together = getattr(self.attention, "queries_together", None)
        return together is not None and together(transformer_options)

    def attended_across(self, across: Across, project: Projections,
                        transformer_options: dict[str, Any] | None) -> Tensor:
        """Attention to the whole sequence where it lies on several GPUs: [B, n, dim] of the own rows asked for, before
        the output's linear. project: see `Across.attended`."""
        heads = self.num_heads // across.rank.count
        prepare = partial(self.prepare_kv, transformer_options=transformer_options, heads=heads)
        return across.attended(project, prepare, of_all=self.needs_all_queries(transformer_options),
                               together=self.queries_together(transformer_options))

    def prepare_kv(self, keys: Tensor, values: Tensor, transformer_options: dict[str, Any] | None = None,
                   heads: int | None = None) -> QueryFunction:
        """Attention to the whole sequence's keys and values [B, L, dim], as a function of queries [B, n, dim]. heads:
        in them, all if None.

        An attention function that converts keys and values first, as 8-bit attention does, has a method
        `prepare_kv(keys, values, heads, transformer_options)` that does so once for all chunks of queries.
        """
        prepare, heads = getattr(self.attention, "prepare_kv", None), heads or self.num_heads
        if prepare is not None:
            return prepare(keys, values, heads, transformer_options)
        return partial(self.attention, k=keys, v=values, heads=heads, transformer_options=transformer_options)

    def output(self, attended: Tensor) -> Tensor:
        """What a function of `prepare_kv` returned -> attention's output, [B, n, dim] each."""
        return self.product(self.o, attended)

    def forward(self, x: Tensor, freqs: Tensor, transformer_options: dict[str, Any] | None = None) -> Tensor:
        """All steps for a whole sequence [B, L, dim], in the convention of core's Wan models: patches of other nodes
        that wrap this module call it so. freqs as from `rotation_matrices`."""
        cos, sin = freqs[0, :, 0, :, :, 0].unbind(-1)
        rotation = cos.contiguous(), sin.contiguous()  # as the kernels read them
        attention = self.prepare_kv(*self.keys_and_values(x, rotation), transformer_options)
        return self.output(attention(self.queries(x, rotation)))


def rotation_matrices(rotation: Rotation) -> Tensor:
    """(cos, sin) of each row [L, 64] as the 2x2 matrices of core's Wan models, float32 [1, L, 1, 64, 2, 2]."""
    cos, sin = rotation
    return torch.stack((cos, -sin, sin, cos), -1).unflatten(-1, (2, 2))[None, :, None]


class CrossAttention(_Attention):
    """Attention to the image tokens and to the text tokens, each with keys of its own; the two results are added.

    `context` [B, 257 + text_len, dim] holds the image tokens first, or only text without an image. A `Negative` in the
    options changes the part of the text alone.
    """

    def __init__(self, config: TransformerConfig, operations, attention: AttentionFunction,
                 parameters: ParametersFunction, linears: FullPrecision, device=None, dtype=None) -> None:
        super().__init__(config, operations, attention, parameters, linears, device, dtype)
        dim, factory = config.dim, {"device": device, "dtype": dtype}
        self.text_len = config.text_len
        self.k_img = operations.Linear(dim, dim, **factory)
        self.v_img = operations.Linear(dim, dim, **factory)
        self.norm_k_img = operations.RMSNorm(dim, eps=config.eps, **factory)

    def output(self, x: Input, sources: Sources, transformer_options: dict[str, Any] | None = None) -> Tensor:
        """Rows x [B, n, dim] and the `sources_of` a context -> attention's output [B, n, dim]."""
        return self.product(self.o, self.attend(self.queries(x), sources, transformer_options))

    def forward(self, x: Tensor, context: Tensor, context_img_len: int | None = None,
                transformer_options: dict[str, Any] | None = None) -> Tensor:
        """The same for a context [B, M, dim], in the convention of core's Wan models, as `SelfAttention.forward`. How
        many rows are the image's is known here anyway."""
        negative = negative_of(transformer_options)
        if negative is not None:
            negative.read = True
        return self.output(x, self.sources_of(context, transformer_options), transformer_options)

    def sources_of(self, context: Tensor, transformer_options: dict[str, Any] | None = None) -> Sources:
        """Keys and values of a context [B, M, dim], and of the negative text in the options."""
        image, text = context[:, : -self.text_len], context[:, -self.text_len :]
        negative, count = negative_of(transformer_options), self.text_len
        if negative is not None:  # with the text: weights that do not stay on the card are fetched for each product
            text = torch.cat((text, negative.text), dim=1)
        keys, values = self.normalise(self.norm_k, each(self.k, text)), each(self.v, text)
        images = None
        if image.shape[1] == CLIP_TOKENS:
            images = self.normalise(self.norm_k_img, each(self.k_img, image)), each(self.v_img, image)
        if negative is None:
            return Sources((keys, values), images, None, 0.0)
        positive, other = ((keys[:, rows].contiguous(), values[:, rows].contiguous())
                           for rows in (slice(count), slice(count, None)))
        return Sources(positive, images, other, negative.strength)

    def attend(self, q: Tensor, sources: Sources, transformer_options: dict[str, Any] | None) -> Tensor:
        """The sum of attention to text and image, [B, n, dim].

        An attention function that may compute in few bits has a method `exact`, with the same arguments, that does
        not: for the image, where some such kernels give NaN, and with so few keys that they save nothing.
        """
        options = {"heads": self.num_heads, "transformer_options": transformer_options}
        attended = self.attention(q, *sources.text, **options)
        if sources.negative is not None:
            attended = elementwise.nag_mix(attended, self.attention(q, *sources.negative, **options), sources.strength)
        if sources.image is None:
            return attended
        exact = getattr(self.attention, "exact", self.attention)
        return attended + exact(q, *sources.image, **options)


def each(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A layer on few rows x [B, n, C], item by item: which kernel computes them may depend on how many there are, and
    two prompts in one batch shall give what one after the other gives."""
    return layer(x) if len(x) == 1 else torch.cat([layer(item) for item in x.split(1)])


def across_of(transformer_options: dict[str, Any] | None) -> Across | None:
    """How the sequence lies on the GPUs, if on several."""
    return None if transformer_options is None else transformer_options.get(ACROSS)


def negative_of(transformer_options: dict[str, Any] | None) -> Negative | None:
    """The text to steer away from, if there is one."""
    return None if transformer_options is None else transformer_options.get(NEGATIVE)
