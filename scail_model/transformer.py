"""The SCAIL-2 transformer: reference, driving video, masks and noisy video in one token sequence.

After `SCAIL2Model` in the official `wan/modules/model_scail2.py` (paper: arXiv 2606.10804). Read it top to bottom:
the inputs become tokens, the tokens run through the blocks, the video tokens become a velocity.

    [ additional references | reference | video | driving (pose) ]

Video and references share one patch embedding, the driving video has its own, and one mask embedding is added to all
of them. What is float32 here stays float32 in every dtype of the weights.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import (
    NEGATIVE,
    AttentionFunction,
    Negative,
    ParametersFunction,
    across_of,
    each,
    float32_parameters,
    sdpa,
)
from .blocks import GELU, Block, Head, ImageEmbedding, timestep_sinusoid
from .config import TransformerConfig
from .gpus.attention import ACROSS, Across
from .gpus.rows import shifted, size, within
from .gpus.team import Rank
from .kernels import elementwise
from .kernels.backends import uncompiled
from .kernels.linears import FullPrecision
from .kernels.ranks import numbers, rank_of
from .kernels.sparse_attention import RUN
from .layout import Layout, checked_layout
from .rope import TRAINED_POSITIONS, Positions, segment_rotations


class Surroundings(NamedTuple):
    """What the blocks read besides the tokens.

    latent: the video latent with its mask [B, 20, T, H, W] and `embedding` of the time [B, dim]: for patches that
    other nodes run between blocks.
    """

    modulation: Tensor
    rotation: tuple[Tensor, Tensor]
    context: Tensor
    layout: Layout
    embedding: Tensor
    latent: Tensor


class SCAIL2Transformer(nn.Module):
    """The network under the official checkpoint's names.

    `operations` supplies Linear, Conv3d, LayerNorm and RMSNorm; `attention` is called as `attention(q, k, v, heads=,
    transformer_options=)` on [B, L, heads * 128]; `parameters(layer, x)` returns a layer's weight and bias in float32
    on x's device; `linears` computes the blocks' linears, in full precision if not given.
    """

    block_type: type[Block] = Block

    def __init__(self, config: TransformerConfig, *, operations=nn, attention: AttentionFunction = sdpa,
                 parameters: ParametersFunction = float32_parameters, linears: FullPrecision | None = None,
                 device=None, dtype=None) -> None:
        super().__init__()
        dim, factory = config.dim, {"device": device, "dtype": dtype}
        patch = {"kernel_size": config.patch_size, "stride": config.patch_size, **factory}
        self.config = config
        self.parameters_of = parameters
        self.patch_embedding = operations.Conv3d(config.in_dim, dim, **patch)
        self.patch_embedding_pose = operations.Conv3d(config.in_dim, dim, **patch)
        self.patch_embedding_mask = operations.Conv3d(config.mask_dim, dim, **patch)
        self.text_embedding = nn.Sequential(
            operations.Linear(config.text_dim, dim, **factory), GELU(), operations.Linear(dim, dim, **factory)
        )
        self.time_embedding = nn.Sequential(
            operations.Linear(config.freq_dim, dim, **factory), nn.SiLU(), operations.Linear(dim, dim, **factory)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), operations.Linear(dim, 6 * dim, **factory))
        self.img_emb = ImageEmbedding(config, operations, parameters, **factory)
        self.blocks = nn.ModuleList(
            self.block_type(config, operations, attention, parameters, linears or FullPrecision(), **factory)
            for _ in range(config.num_layers)
        )
        self.head = Head(config, operations, parameters, **factory)
        self._rotations: tuple[tuple[Layout, torch.device], tuple[Tensor, Tensor]] | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which linears and attention compute."""
        return self.get_parameter("blocks.0.cross_attn.o.weight").dtype  # in no mode stored in 8 bits

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor, clip_features: Tensor | None, *,
                reference_latents: Tensor, reference_masks: Tensor, driving_latents: Tensor | None,
                driving_masks: Tensor | None, replacement: bool, history_mask: Tensor | None = None,
                additional_latents: Tensor | None = None, additional_masks: Tensor | None = None,
                positions: Positions = TRAINED_POSITIONS, negative_context: Tensor | None = None,
                negative_strength: float = 0.0, transformer_options: dict[str, Any] | None = None) -> Tensor:
        """Velocity of the video latent, float32 [B, 16, T, H, W].

        x [B, 16, T, H, W], latents are normalised Wan 2.1 latents
        timestep [B], 0..1000, fractions allowed
        context [B, L <= 512, 4096], text embeddings; rows after the text are zero
        clip_features [B, 257, 1280] of the reference, or None
        reference_latents [B, 16, 1, H, W], reference_masks [B, 28, 1, H, W] (or 1+T frames)
        driving_latents [B, 16, T, H/2, W/2], driving_masks [B, 28, T, H/2, W/2]; both None: without a driving video
        history_mask [B, 4, T, H, W], 1 where x holds clean frames of the segment before
        additional_latents [B, 16, n, H, W], additional_masks [B, 28, n, H, W]
        positions: rotary positions other than the trained ones
        negative_context [B, L <= 512, 4096], negative_strength: a text to steer away from, and how far; 0 not at all

        Where the options hold a rank (`gpus.forward`), only its rows are computed, and the first rank has the velocity;
        what the others return is of no use.

        Raises ValueError for sizes, frame counts and text lengths that do not fit.
        """
        layout = checked_layout(
            self.config, x, context, clip_features, replacement, positions,
            reference_latents=reference_latents, reference_masks=reference_masks, driving_latents=driving_latents,
            driving_masks=driving_masks, history_mask=history_mask, additional_latents=additional_latents,
            additional_masks=additional_masks, negative_context=negative_context,
        )
        elementwise.prepare(x.device)
        transformer_options = {} if transformer_options is None else transformer_options
        across = self.laid_across(layout, transformer_options)
        if RUN in transformer_options:
            transformer_options[RUN].begin(numbers(timestep.flatten()[0], transformer_options), transformer_options)
        rows = slice(0, layout.tokens) if across is None else across.own
        history_mask = torch.zeros_like(x[:, :4]) if history_mask is None else history_mask
        tokens = self.embed_tokens(x, history_mask, reference_latents, reference_masks, driving_latents, driving_masks,
                                   additional_latents, additional_masks, rows)
        embedding, modulation = self.embed_time(timestep.to(x.device).reshape(-1).expand(x.shape[0]))
        context = self.embed_context(context, clip_features)
        if negative_context is not None and negative_strength:  # in a copy: the next call may have the same options
            negative = Negative(self.embed_context(negative_context, None), negative_strength)
            transformer_options = {**transformer_options, NEGATIVE: negative}
        cos, sin = self.rotations(layout, x.device)
        around = Surroundings(modulation, (cos[rows], sin[rows]), context, layout, embedding,
                              _with_channels(x, history_mask))
        tokens = self.run_blocks(tokens, around, transformer_options)
        if across is None:
            patches = self.head(tokens, embedding, layout.video.start)
        else:
            patches = across.collected(self.head(tokens, embedding, across.first_of_video))
            if across.rank.number:
                return patches
        _, patch_height, patch_width = self.config.patch_size
        return rearrange(patches, "b (t h w) (p q c) -> b c t (h p) (w q)", t=layout.frames,
                         h=layout.height // patch_height, p=patch_height, q=patch_width)

    @staticmethod
    def laid_across(layout: Layout, transformer_options: dict[str, Any]) -> Across | None:
        """How the sequence lies on the GPUs, which the blocks find in the options; None on one."""
        rank = rank_of(transformer_options)
        if rank is None or rank.count == 1:
            return None
        transformer_options[ACROSS] = Across(cast(Rank, rank), layout.tokens, layout.video)
        if RUN in transformer_options:
            transformer_options[RUN] = transformer_options[RUN].of_rank(rank.number)
        return transformer_options[ACROSS]

    # Tokens

    def embed_tokens(self, x: Tensor, history_mask: Tensor, reference_latents: Tensor, reference_masks: Tensor,
                     driving_latents: Tensor | None, driving_masks: Tensor | None,
                     additional_latents: Tensor | None, additional_masks: Tensor | None, rows: slice) -> Tensor:
        """All inputs -> these rows of the token sequence, float32 [B, n, dim]."""
        if additional_latents is not None and additional_masks is not None:
            reference_latents = torch.cat((additional_latents, reference_latents), dim=2)
            reference_masks = torch.cat((additional_masks, reference_masks), dim=2)
        references = reference_latents.shape[2]
        # official pipeline: zeros on the video's frames; given frames are embedded like any other
        video_masks = reference_masks[:, :, references:]
        clean = torch.ones_like(x[:, :4, :1])  # [B, 4, 1, H, W]: references and driving frames are never noisy
        mask = self.patch_embedding_mask
        empty = cast(Tensor, self.parameters_of(mask, x)[1])  # the bias: what zeros are embedded as
        segments = [
            (self.patch_embedding, _with_channels(reference_latents, clean), reference_masks[:, :, :references]),
            (self.patch_embedding, _with_channels(x, history_mask), video_masks if video_masks.shape[2] else None),
        ]
        if driving_latents is not None and driving_masks is not None:
            segments.append((self.patch_embedding_pose, _with_channels(driving_latents, clean[..., ::2, ::2]),
                             driving_masks))
        embedded, first = [], 0
        for layer, latents, masks in segments:
            count = latents.shape[2:].numel() // 4
            part = shifted(within(slice(first, first + count), rows), -first)
            first += count
            if size(part):
                embedded.append(self.patches(layer, latents, part)
                                + (empty if masks is None else self.patches(mask, masks, part)))
        return torch.cat(embedded, dim=1)

    def patches(self, layer: nn.Module, latents: Tensor, rows: slice) -> Tensor:
        """Patch convolution as a matrix product: `rows` of latents [B, C, T, H, W] -> float32 [B, n, dim], of
        T * H/2 * W/2 rows.

        A convolution of float32 would run in TF32 on a GPU, three digits short.
        """
        weight, bias = self.parameters_of(layer, latents)
        _, patch_height, patch_width = self.config.patch_size
        tokens = rearrange(latents.float(), "b c t (h p) (w q) -> b (t h w) (c p q)", p=patch_height, q=patch_width)
        return F.linear(tokens[:, rows].contiguous(), weight.flatten(1), bias)

    @uncompiled  # small, cached, and float64: nothing to gain from compiling it
    def rotations(self, layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rotary multipliers (cos, sin), float32 [L, 64] on `device`; the last layout's are kept."""
        key = (layout, device)
        if self._rotations is None or self._rotations[0] != key:
            cos, sin = segment_rotations(layout.frames, layout.height, layout.width, replacement=layout.replacement,
                                         additional_references=layout.additional_references,
                                         positions=layout.positions)
            if not layout.driven:
                cos, sin = cos[: layout.video.stop], sin[: layout.video.stop]
            self._rotations = key, (cos.float().to(device), sin.float().to(device))
        return self._rotations[1]

    # Time, text and image

    def embed_time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """timestep [B] -> embedding [B, dim] for the head and modulation [B, 6, dim] for the blocks, both float32."""
        linear1, silu, linear2 = self.time_embedding
        x = timestep_sinusoid(timestep, self.config.freq_dim)
        embedding = self.small_product(linear2, silu(self.small_product(linear1, x)))
        silu, projection = self.time_projection
        modulation = self.small_product(projection, silu(embedding))
        return embedding, modulation.unflatten(1, (6, self.config.dim))

    def small_product(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A linear in float32, item by item, as `each`."""
        weight, bias = self.parameters_of(layer, x)
        return each(partial(F.linear, weight=weight, bias=bias), x)

    def embed_context(self, context: Tensor, clip_features: Tensor | None) -> Tensor:
        """Text [B, L, 4096] and CLIP features [B, 257, 1280] or None -> context tokens [B, (257 +) 512, dim]."""
        dtype = self.compute_dtype(context)
        # the rows after the text are zero before the embedding, so they become a constant that is attended to
        text = F.pad(context.to(dtype), (0, 0, 0, self.config.text_len - context.shape[1]))
        text = each(self.text_embedding, text)
        if clip_features is None:
            return text
        return torch.cat((each(partial(self.img_emb, dtype=dtype), clip_features), text), dim=1)

    def compute_dtype(self, x: Tensor) -> torch.dtype:
        """The dtype of linears and attention; a binding whose weights are cast as they are used may go by the input."""
        return self.dtype

    # Blocks

    def run_blocks(self, tokens: Tensor, around: Surroundings, transformer_options: dict[str, Any]) -> Tensor:
        """Tokens [B, L, dim] -> the video's tokens [B, rows of the video, dim].

        The last block computes only those: it uses reference and driving tokens as keys, and nothing reads them later.
        """
        rows = self.rows_at_once(tokens, transformer_options)
        for index, block in enumerate(self.blocks):
            transformer_options["block_index"] = index
            queries = self.video_rows(around.layout, transformer_options) if block is self.blocks[-1] else None
            tokens = block(tokens, around.modulation, around.rotation, around.context, queries, transformer_options,
                           rows)
            self.block_queued(transformer_options)
        return tokens

    def video_rows(self, layout: Layout, transformer_options: dict[str, Any]) -> slice:
        """The video's rows among those that are here, which the last block is asked for."""
        across = across_of(transformer_options)
        return layout.video if across is None else across.video_only()

    def block_queued(self, transformer_options: dict[str, Any]) -> None:
        """A block is on its way to the GPU: where several compute, they stop here if one of them has."""
        rank = rank_of(transformer_options)
        if rank is not None:
            cast(Rank, rank).layer_queued()

    def rows_at_once(self, tokens: Tensor, transformer_options: dict[str, Any]) -> int | None:
        """How many rows a block works on at a time; None for all. A binding that knows the memory may choose."""
        return None


def _with_channels(latents: Tensor, clean: Tensor) -> Tensor:
    """Append the four channels that mark clean frames: [B, 16, T, H, W] and [B, 4, 1 or T, H, W] -> [B, 20, ...]."""
    return torch.cat((latents, clean.to(latents.dtype).expand(-1, -1, latents.shape[2], -1, -1)), dim=1)
