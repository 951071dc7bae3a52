"""The parts of the SCAIL-2 transformer: block, output head, image embedding and the timestep's sinusoid.

Official: `WanAttentionBlock`, `Head`, `MLPProj`, `sinusoidal_embedding_1d` in `wan/modules`. The residual stream,
the modulation and every norm are float32; linears and attention compute in the model's dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import AttentionFunction, CrossAttention, ParametersFunction, Rotation, SelfAttention, across_of
from .config import CLIP_DIM, TransformerConfig
from .gpus.attention import Projections
from .gpus.rows import TILE
from .kernels import elementwise
from .kernels.linears import FullPrecision, Input


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward on the residual stream.

    The stream is the largest tensor that lives through the whole network, so without gradients a block overwrites its
    input: pass a copy if you still need it.
    """

    def __init__(self, config: TransformerConfig, operations, attention: AttentionFunction,
                 parameters: ParametersFunction, linears: FullPrecision, device=None, dtype=None) -> None:
        super().__init__()
        dim, factory = config.dim, {"device": device, "dtype": dtype}
        self.eps, self.parameters_of, self.linears = config.eps, parameters, linears
        self.self_attn = SelfAttention(config, operations, attention, parameters, linears, **factory)
        self.norm3 = operations.LayerNorm(dim, eps=config.eps, **factory)
        self.cross_attn = CrossAttention(config, operations, attention, parameters, linears, **factory)
        self.ffn = nn.Sequential(
            operations.Linear(dim, config.ffn_dim, **factory), GELU(), operations.Linear(config.ffn_dim, dim, **factory)
        )
        self.modulation = modulation_parameter(6, dim, **factory)

    def forward(self, x: Tensor, modulation: Tensor, rotation: Rotation, context: Tensor,
                queries: slice | None = None, transformer_options: dict[str, Any] | None = None,
                rows: int | None = None) -> Tensor:
        """x float32 [B, L, dim], modulation float32 [B, 6, dim], rotation 2x float32 [L, 64], context [B, M, dim]
        in the compute dtype -> float32 [B, L, dim]; with `queries` only these rows of it, exactly.

        rows: how many to compute at a time. The numbers are the same, but 8 bytes per value of the stream are needed
        instead of 14 (`kernels.chunks`).
        """
        queries = slice(0, x.shape[1]) if queries is None else queries
        modulation = self.modulation.to(x.device, torch.float32) + modulation  # [B, 6, dim]
        if rows is None or rows >= x.shape[1]:
            return self.forward_whole(x, modulation, rotation, context, queries, transformer_options)
        return self.forward_in_rows(x, modulation, rotation, context, queries, transformer_options, rows)

    def forward_whole(self, x: Tensor, modulation: Tensor, rotation: Rotation, context: Tensor, queries: slice,
                      transformer_options: dict[str, Any] | None) -> Tensor:
        """All rows at once. `y` is what is added to the stream; giving all its forms one name frees each of them as
        soon as the next one is computed."""
        linears, dtype = self.linears, context.dtype
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)  # each [B, 1, dim]

        # self-attention of the queries to all rows
        y = self.self_attention(linears.norm(x, 1 + scale1, shift1, self.eps, dtype, self.self_attn.q), rotation,
                                queries, transformer_options)
        if not y.shape[1]:
            return x[:, queries]  # none of the rows that lie on this GPU
        y = self.self_attn.output(y)
        x, y = linears.add_norm_(x[:, queries], y, gate1, *self.affine(self.norm3, x), self.eps, dtype,
                                 self.cross_attn.q)

        # cross-attention to text and image
        y = self.cross_attn.output(y, self.cross_attn.sources_of(context, transformer_options), transformer_options)
        x, y = linears.add_norm_(x, y, None, 1 + scale2, shift2, self.eps, dtype, self.ffn[0])

        # feed-forward
        y = linears.feed_forward(self.ffn, y)
        return elementwise.add_gated_(x, y, gate2)

    def self_attention(self, y: Input, rotation: Rotation, queries: slice,
                       transformer_options: dict[str, Any] | None) -> Tensor:
        """Attention of the normalised rows `queries` to all rows y [B, L, dim]: [B, n, dim] before the output's
        linear."""
        module, across = self.self_attn, across_of(transformer_options)
        if across is not None:
            asked = slice(0, len(rotation[0])) if module.needs_all_queries(transformer_options) else queries
            project = _projections(module, y, rotation, asked)
            del y  # so that it goes when it has been read
            return module.attended_across(across, project, transformer_options)
        attention = module.prepare_kv(*module.keys_and_values(y, rotation), transformer_options)
        if module.needs_all_queries(transformer_options):
            return attention(module.queries(y, rotation))[:, queries]
        return attention(module.queries(y[:, queries], _rows(rotation, queries)))

    def forward_in_rows(self, x: Tensor, modulation: Tensor, rotation: Rotation, context: Tensor, queries: slice,
                        transformer_options: dict[str, Any] | None, rows: int) -> Tensor:
        """`forward_whole` a few rows at a time: what needs all rows of self-attention first, then the rest for each
        chunk."""
        linears, dtype = self.linears, context.dtype
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)  # each [B, 1, dim]
        norm3 = self.affine(self.norm3, x)

        attended = self.self_attention_in_rows(x, 1 + scale1, shift1, rotation, dtype, queries, transformer_options,
                                               rows)
        sources = self.cross_attn.sources_of(context, transformer_options)

        out = x.clone() if torch.is_grad_enabled() else x
        for part in _chunks(queries, rows):
            # self-attention of these rows to all rows
            y = self.self_attn.output(attended(part))
            stream, y = linears.add_norm_(x[:, part], y, gate1, *norm3, self.eps, dtype, self.cross_attn.q)

            # cross-attention to text and image
            y = self.cross_attn.output(y, sources, transformer_options)
            stream, y = linears.add_norm_(stream, y, None, 1 + scale2, shift2, self.eps, dtype, self.ffn[0])

            # feed-forward
            y = linears.feed_forward(self.ffn, y)
            # a copy only where the sum was not written over x
            out[:, part] = elementwise.add_gated_(stream, y, gate2)
        return out[:, queries]

    def self_attention_in_rows(self, x: Tensor, scale: Tensor, shift: Tensor, rotation: Rotation, dtype: torch.dtype,
                               queries: slice, transformer_options: dict[str, Any] | None,
                               rows: int) -> Callable[[slice], Tensor]:
        """Self-attention to all rows x [B, L, dim], as a function of rows among `queries`: [B, n, dim] before the
        output's linear. What does not depend on the rows is computed here."""
        module, everything = self.self_attn, slice(0, x.shape[1])
        across = across_of(transformer_options)

        def project(compute: Callable[[Input, Rotation], Tensor], part: slice) -> Tensor:
            normed = self.linears.norm(x[:, part], scale, shift, self.eps, dtype, module.q)
            return compute(normed, _rows(rotation, part))

        def collect(compute: Callable[[Input, Rotation], Tensor], part: slice = everything) -> Tensor:
            """A projection of many rows. Their norm is not kept: it would take as much memory."""
            collected = torch.empty(x.shape[0], part.stop - part.start, x.shape[2], dtype=dtype, device=x.device)
            for piece in _chunks(part, rows):
                collected[:, piece.start - part.start : piece.stop - part.start] = project(compute, piece)
            return collected

        if across is not None:
            asked = everything if module.needs_all_queries(transformer_options) else queries
            attended = module.attended_across(across, [
                partial(collect, compute, part) for compute, part in (
                    (module.keys, everything), (module.values, everything), (module.queries, asked))],
                transformer_options)
            return lambda part: attended[:, part.start - queries.start : part.stop - queries.start]
        attention = module.prepare_kv(collect(module.keys), collect(module.values), transformer_options)
        if module.needs_all_queries(transformer_options):
            attended = attention(collect(module.queries))
            return lambda part: attended[:, part]
        if module.queries_together(transformer_options):
            attended = attention(collect(module.queries, queries))
            return lambda part: attended[:, part.start - queries.start : part.stop - queries.start]
        return lambda part: attention(project(module.queries, part))

    def affine(self, norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of a norm, float32 [1, 1, dim]."""
        weight, bias = self.parameters_of(norm, x)
        return weight[None, None], cast(Tensor, bias)[None, None]


def modulation_parameter(rows: int, dim: int, device=None, dtype=None) -> nn.Parameter:
    """[1, rows, dim], with the spread of the official initialisation."""
    # drawn in float32, because PyTorch draws no random numbers in 8-bit dtypes
    return nn.Parameter((torch.randn(1, rows, dim, device=device) / dim**0.5).to(dtype=dtype))


def _projections(module: SelfAttention, y: Input, rotation: Rotation, queries: slice) -> Projections:
    """Keys and values of rows y [B, n, dim], and the queries of some of them, which let go of y."""
    held = [y]
    return [lambda: module.keys(held[0], rotation), lambda: module.values(held[0], rotation),
            lambda: module.queries(held.pop()[:, queries], _rows(rotation, queries))]


def _chunks(part: slice, rows: int) -> Iterator[slice]:
    """A range of rows, `rows` at a time."""
    for start in range(part.start, part.stop, rows):
        yield slice(start, min(start + rows, part.stop))


def _rows(rotation: Rotation, part: slice) -> Rotation:
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

    def forward(self, x: Tensor, embedding: Tensor, first: int = 0) -> Tensor:
        """x float32 [B, L, dim], time embedding float32 [B, dim] -> float32 [B, L, patch values]. first: number of x's
        first row in the whole sequence.

        Which kernel multiplies in float32, and so the last bits, depends on the number of rows. Tiles at fixed rows
        give the same wherever several GPUs cut the sequence.
        """
        shift, scale = (self.modulation.to(x.device, torch.float32) + embedding[:, None]).chunk(2, dim=1)
        weight, bias = self.parameters_of(self.head, x)
        x = elementwise.layer_norm(x, 1 + scale, shift, self.eps, torch.float32)
        out = x.new_empty(*x.shape[:2], len(weight))
        for item, rows in enumerate(x):
            for start in range(first // TILE * TILE - first, len(rows), TILE):
                tile = slice(max(start, 0), start + TILE)
                out[item, tile] = F.linear(rows[tile], weight, bias)
        return out


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
    # float64 exists on CPU and CUDA, not on every other device; copying B numbers costs nothing
    position = timestep.to(timestep.device if timestep.device.type in ("cpu", "cuda") else "cpu", torch.float64)
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=position.device) / half)
    angles = torch.outer(position, frequencies)  # [B, half]
    return torch.cat((angles.cos(), angles.sin()), dim=1).to(timestep.device, torch.float32)
