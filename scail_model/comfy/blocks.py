"""A block as other nodes patch it: they know core's Wan blocks, whose parts they exchange or run code between.

A patched block computes as an unpatched one but for two things: its parts are called as core calls its own, and it
works on the whole sequence at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import Rotation, negative_of, rotation_matrices
from ..blocks import Block
from ..kernels import elementwise
from ..transformer import Surroundings
from .patches import origin

Patch = Callable[[dict[str, Any]], Any]


class PatchableBlock(Block):
    def forward(self, x: Tensor, modulation: Tensor, rotation: Rotation, context: Tensor, queries: slice | None = None,
                transformer_options: dict[str, Any] | None = None, rows: int | None = None,
                patched: bool = False) -> Tensor:
        """As in the base class. patched: `is_patched`, which is asked outside because it cannot be compiled."""
        if not patched:
            return super().forward(x, modulation, rotation, context, queries, transformer_options, rows)
        return self.forward_patched(x, modulation, rotation, context, transformer_options or {})

    def forward_patched(self, x: Tensor, modulation: Tensor, rotation: Rotation, context: Tensor,
                        transformer_options: dict[str, Any]) -> Tensor:
        """All rows of the block's output, float32 [B, L, dim]."""
        dtype = context.dtype
        modulation = self.modulation.to(x.device, torch.float32) + modulation
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)  # each [B, 1, dim]

        y = elementwise.layer_norm(x, 1 + scale1, shift1, self.eps, dtype)
        y = self.self_attn(y, rotation_matrices(rotation), transformer_options=transformer_options)
        x, y = elementwise.add_gated_norm_(x, y, gate1, *self.affine(self.norm3, x), self.eps, dtype)

        images = context.shape[1] - self.cross_attn.text_len
        negative = negative_of(transformer_options)
        if negative is not None:
            negative.read = False
        y = self.cross_attn(y, context, context_img_len=images, transformer_options=transformer_options)
        if negative is not None and not negative.read:
            raise ValueError(not_steered(negative.strength, self.cross_attn.forward))
        x = elementwise.add_gated_(x, y)
        x = run_patches(patches(transformer_options, "attn2_patch"), x, dtype, lambda patch, stream: patch(
            {"x": stream, "transformer_options": transformer_options}))

        y = elementwise.layer_norm(x, 1 + scale2, shift2, self.eps, dtype)
        y = self.ffn(y) if is_replaced(self.ffn) else self.linears.feed_forward(self.ffn, y)
        return elementwise.add_gated_(x, y, gate2)


def not_steered(strength: float, forward: Callable) -> str:
    """The refusal of another node's cross-attention that comes in place of ours, such as another NAG."""
    return (f"negative_strength is {strength:g}, but {origin(forward)} replaces the cross-attention in which it acts, "
            "as KJNodes' WanVideoNAG does: set negative_strength to 0, or remove that node from the model's line.")


def is_patched(block: Block, transformer_options: dict[str, Any]) -> bool:
    """Whether a block must run as a patched one."""
    return bool(patches(transformer_options, "attn2_patch")) or any(
        is_replaced(part) for part in (block.self_attn, block.cross_attn, block.ffn))


def is_replaced(module: nn.Module) -> bool:
    """Whether the module's `forward` is another node's. ComfyUI puts the original back as an attribute."""
    forward = vars(module).get("forward")
    return forward is not None and getattr(forward, "__func__", forward) is not type(module).forward


def patches(transformer_options: dict[str, Any], kind: str) -> list[Patch]:
    return transformer_options.get("patches", {}).get(kind, [])


def run_patches(patches: Iterable[Patch], x: Tensor, dtype: torch.dtype,
                run: Callable[[Patch, Tensor], Tensor]) -> Tensor:
    """The residual stream, float32 [B, L, dim], after patches, each called by `run(patch, stream)`.

    They get the stream in `dtype`, in which core's network keeps it: some load networks of their own and compute them
    in that dtype. Only what they change is added, so the stream itself loses no digits.
    """
    for patch in patches:
        given = x.to(dtype, copy=True)
        found = run(patch, given.clone())
        x = found if dtype == torch.float32 else x + (found - given)
    return x


def run_replaced(block: Callable[..., Tensor], replacement, tokens: Tensor, around: Surroundings,
                  transformer_options: dict[str, Any]) -> Tensor:
    """Call a block replacement with the arguments it has in core's Wan models."""

    def original_block(args: dict[str, Any]) -> dict[str, Tensor]:
        # a copy: the block overwrites its input, and a replacement may compare it with the output
        return {"img": block(args["img"].clone(), args["vec"], args["pe"], args["txt"],
                             transformer_options=args["transformer_options"])}

    arguments = {"img": tokens, "txt": around.context, "vec": around.modulation, "pe": around.rotation,
                 "transformer_options": transformer_options}
    return replacement(arguments, {"original_block": original_block})["img"]


def run_after_block(index: int, tokens: Tensor, around: Surroundings, transformer_options: dict[str, Any]) -> Tensor:
    """Run the `double_block` patches with the arguments they have in core's Wan models."""
    dtype = around.context.dtype
    return run_patches(patches(transformer_options, "double_block"), tokens, dtype, lambda patch, stream: patch({
        "img": stream, "x": around.latent, "vec": around.embedding[:, None].to(dtype), "block_index": index,
        "img_offset": around.layout.video.start, "transformer_options": transformer_options})["img"])
