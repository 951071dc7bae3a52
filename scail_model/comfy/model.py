"""The transformer as ComfyUI's model management, samplers and patches see it.

`ComfyTransformer` is the network with ComfyUI's layers and attention; `SCAIL2` is the model around it, which reads the
conditioning keys of core's own SCAIL-2, so that either's conditioning nodes work with either's model.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, cast

import comfy.model_base
import comfy.model_management
import comfy.model_prefetch
import comfy.ops
import comfy.patcher_extension
import comfy.supported_models
import torch
from torch import Tensor, nn

from ..blocks import Block
from ..config import TransformerConfig
from ..gpus.choice import GpuChoice
from ..gpus.forward import forward_together
from ..kernels.attention_choice import Backend
from ..kernels.chunks import rows_at_once
from ..kernels.precision import EXACT, int8_storage
from ..kernels.ranks import rank_of
from ..rope import Positions, Stretch
from ..transformer import SCAIL2Transformer, Surroundings
from . import batches, int8, overrides
from .blocks import PatchableBlock, is_patched, patches, run_after_block, run_replaced
from .conditioning import NEGATIVE_STRENGTH, NEGATIVE_TEXT
from .overrides import Attention, PatchedAttention, Rows
from .patches import check_options
from .sharing import TICK, group_of, sharing_of

# What a sampler passes under core's names, and what to connect if it is missing.
_CONDITIONS = {
    "reference_latent": "a reference picture",
    "ref_mask_latents": "the reference's mask",
    "pose_latents": "a driving video",
    "sam_latents": "the driving video's mask",
    "ref_mask_flag": "a mode",
}


def float32_parameters(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """A layer's weight and bias as float32 copies on x's device, from wherever ComfyUI keeps them, patches applied."""
    if hasattr(layer, "is_ggml_quantized") and cast(Any, layer).is_ggml_quantized():  # of ComfyUI-GGUF
        return cast(Any, layer).cast_bias_weight(dtype=torch.float32, device=x.device, bias_dtype=torch.float32)
    weight, bias, stream = comfy.ops.cast_bias_weight(
        layer, dtype=torch.float32, bias_dtype=torch.float32, device=x.device, offloadable=True)
    # copies, because the memory may be given to another layer as soon as this one is released
    copies = weight.clone(), None if bias is None else bias.clone()
    comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
    return copies


class ComfyTransformer(SCAIL2Transformer):
    """`SCAIL2Transformer`, called as ComfyUI calls its Wan models.

    `precision` is the mode that its weights were loaded in, a name for reports.
    """

    block_type = PatchableBlock

    def __init__(self, *, operations, device=None, dtype=None, **sizes: Any) -> None:
        attention = Attention()
        super().__init__(TransformerConfig(**sizes), operations=operations, attention=attention,
                         parameters=float32_parameters, linears=int8.ComfyInt8(int8.stored, int8.weights),
                         device=device, dtype=dtype)
        self._dtype: Any = dtype  # None: as in the file
        self._attention, self.precision = attention, EXACT
        self.loaded_for: GpuChoice | None = None  # the GPUs that the loader has chosen, where several were asked for
        if dtype is not None and dtype.itemsize == 1:
            self._widen_small_parameters()
        for block in cast("Iterable[Block]", self.blocks):
            block.self_attn.attention = PatchedAttention(attention)

    def use_attention(self, backend: Backend) -> None:
        """Compute attention with `backend` from now on."""
        self._attention.backend = backend

    @property
    def attention(self) -> str:
        """Name of the backend."""
        return self._attention.backend.name

    @property
    def backend(self) -> Backend:
        return self._attention.backend

    @property
    def dim(self) -> int:
        """Width of the network, which nodes for Wan models read."""
        return self.config.dim

    @property
    def forward_orig(self) -> None:
        """What caches exchange that are older than core's EasyCache, once they sample."""
        raise ValueError("A node on the model's line, such as TeaCache or MagCache, exchanges forward_orig of core's "
                         "Wan models, which our network does not have: use EasyCache in its place.")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that weights are stored in."""
        return self._dtype

    def compute_dtype(self, x: Tensor) -> torch.dtype:
        """ComfyUI casts the inputs to the dtype of the run and the weights to that of the input."""
        return x.dtype

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor,  # pyright: ignore[reportIncompatibleMethodOverride]
                clip_fea: Tensor | None = None, transformer_options: dict[str, Any] | None = None,
                **conditions: Any) -> Tensor:
        """x [B, 16 + 4, T, H, W]; the conditions are those of core's `WAN21_SCAIL2`."""
        options = {} if transformer_options is None else transformer_options
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        sharing = sharing_of(options)
        with nullcontext() if sharing is None else sharing.ended_by_errors():
            # caches look for the options as the last positional argument
            return executor.execute(x, timestep, context, clip_fea, options, **conditions)

    def _forward(self, x: Tensor, timestep: Tensor, context: Tensor, clip_fea: Tensor | None,
                 transformer_options: dict[str, Any], **conditions: Any) -> Tensor:
        _refuse_missing(conditions)
        check_options(transformer_options)
        group = group_of(transformer_options)
        if len(group) > 1:
            return forward_together([copy.load_device for copy in group],
                                    [copy.model.diffusion_model._forward for copy in group], x, timestep, context,
                                    clip_fea, within=sharing_of(transformer_options),
                                    transformer_options=transformer_options, **conditions)
        if not batches.separable(x.shape[0], cast("Iterable[Block]", self.blocks), transformer_options):
            return self._velocity(x, timestep, context, clip_fea, transformer_options, **conditions)
        return batches.one_by_one(self._velocity, x, timestep, context, clip_fea,
                                  transformer_options=transformer_options, **conditions)

    def _velocity(self, x: Tensor, timestep: Tensor, context: Tensor, clip_fea: Tensor | None,
                  transformer_options: dict[str, Any], **conditions: Any) -> Tensor:
        # core stacks the references, additional ones first, and appends four channels of ones, which are ours to add
        references, masks = conditions["reference_latent"][:, :16], conditions["ref_mask_latents"]
        extra = references.shape[2] - 1
        driving = conditions.get("pose_latents")  # missing where the sampling is outside of pose_start and pose_end
        return super().forward(
            x[:, :16], timestep, context, clip_fea,
            reference_latents=references[:, :, extra:], reference_masks=masks[:, :, extra:],
            driving_latents=None if driving is None else driving[:, :16],
            driving_masks=None if driving is None else conditions["sam_latents"],
            replacement=not conditions["ref_mask_flag"], history_mask=x[:, 16:],
            additional_latents=references[:, :, :extra] if extra else None,
            additional_masks=masks[:, :, :extra] if extra else None, positions=_positions(transformer_options),
            negative_context=conditions.get(NEGATIVE_TEXT), negative_strength=conditions.get(NEGATIVE_STRENGTH, 0.0),
            transformer_options=transformer_options,
        )

    def run_blocks(self, tokens: Tensor, around: Surroundings, transformer_options: dict[str, Any]) -> Tensor:
        """As in the base class, with weights fetched one block ahead and all that other nodes do between blocks."""
        replacements = transformer_options.get("patches_replace", {}).get("dit", {})
        layout = around.layout
        transformer_options |= {
            "total_blocks": len(self.blocks), "block_type": "double",
            "grid_sizes": (layout.additional_references + 1 + layout.frames, layout.height // 2, layout.width // 2)}
        rows, video = self.rows_at_once(tokens, transformer_options), layout.video
        # The last block too, where patches read all its rows. An override that needs all rows of cross-attention leaves
        # only the feed-forward, which would save 0.3 % of a forward.
        whole = needs_whole_sequence(transformer_options) or patches(transformer_options, "double_block")
        queue = comfy.model_prefetch.make_prefetch_queue(list(self.blocks), tokens.device, transformer_options)
        for index, block in enumerate(cast("Iterable[PatchableBlock]", self.blocks)):
            comfy.model_prefetch.prefetch_queue_pop(queue, tokens.device, block)
            transformer_options["block_index"] = index
            if index + 1 == len(self.blocks):
                video = self.video_rows(layout, transformer_options)
            run = partial(block, patched=is_patched(block, transformer_options))
            replacement = replacements.get(("double_block", index))
            if replacement is not None:
                tokens = run_replaced(run, replacement, tokens, around, transformer_options)
            else:
                queries = video if index + 1 == len(self.blocks) and not whole else None
                tokens = run(tokens, around.modulation, around.rotation, around.context, queries, transformer_options,
                             rows)
            tokens = run_after_block(index, tokens, around, transformer_options)
            self.block_queued(transformer_options)
        comfy.model_prefetch.prefetch_queue_pop(queue, tokens.device, None)
        # a replaced or patched last block returns the whole sequence
        return tokens if tokens.shape[1] == video.stop - video.start else tokens[:, video]

    def block_queued(self, transformer_options: dict[str, Any]) -> None:
        """As in the base class, where a rank asks the `Sharing`; and so does a GPU that has a prompt to itself. All ask
        whoever waits for the sampling."""
        super().block_queued(transformer_options)
        sharing = sharing_of(transformer_options)
        if sharing is not None and rank_of(transformer_options) is None:
            sharing.check()
        if tick := transformer_options.get(TICK):
            tick()

    def rows_at_once(self, tokens: Tensor, transformer_options: dict[str, Any]) -> int | None:
        """All rows, unless they take too much of the GPU's memory."""
        if needs_whole_sequence(transformer_options):
            return None
        batch, length, dim = tokens.shape
        on_cpu = comfy.model_management.is_device_cpu(tokens.device)
        total = 0 if on_cpu else comfy.model_management.get_total_memory(tokens.device)
        return rows_at_once(length, dim, total, batch)

    def in_chunks(self, transformer_options: dict[str, Any]) -> bool:
        """Whether chunks of rows save memory. Where self-attention needs the queries of all rows, these take as much,
        with what a sparse attention keeps beside them."""
        return overrides.rows(transformer_options) == Rows.ANY and not self._attention.backend.all_queries

    def _widen_small_parameters(self) -> None:
        """8-bit storage is for the weights of the blocks' linears; in the rest it would save nothing and cost the
        precision."""
        linears = {module for module in self.blocks.modules() if isinstance(module, nn.Linear)}
        for module in self.modules():
            kept = {"weight"} if module in linears else set()
            for name, parameter in module.named_parameters(recurse=False):
                if name not in kept:
                    parameter.data = parameter.data.to(torch.bfloat16)
            # with dynamic memory, linears get their parameters when the file is read; until then they hold the dtype
            for name in {"weight", "bias"} - kept:
                if hasattr(module, f"{name}_comfy_model_dtype"):
                    setattr(module, f"{name}_comfy_model_dtype", torch.bfloat16)


def needs_whole_sequence(transformer_options: dict[str, Any]) -> bool:
    """Whether the options hold what another node has set that reads all rows of a block."""
    return overrides.rows(transformer_options) == Rows.ALL


def _positions(transformer_options: dict[str, Any]) -> Positions:
    """ScaleROPE's options, by core's names."""
    options = transformer_options.get("rope_options") or {}
    return Positions(*(Stretch(options.get(f"scale_{axis}", 1.0), options.get(f"shift_{axis}", 0.0)) for axis in "tyx"))


def _refuse_missing(conditions: dict[str, Any]) -> None:
    missing = {name: what for name, what in _CONDITIONS.items() if conditions.get(name) is None}
    if "sam_latents" not in missing:
        # outside of pose_start and pose_end the mask is given without its video
        missing.pop("pose_latents", None)
    if missing:
        raise ValueError(f"SCAIL-2 cannot run without {', '.join(missing.values())}: connect it to the node that "
                         "builds the motion latent.")


def describe(model) -> str:
    """How a MODEL computes, for reports: its precision, the weights' format and its attention."""
    network = model.get_model_object("diffusion_model")
    if not isinstance(network, ComfyTransformer):
        return f"network {type(network).__name__}"
    return f"precision {network.precision}, weights {weight_format(network)}, attention {network.attention}"


def in_int8(model) -> bool:
    """Whether most linears of a MODEL are computed in int8."""
    return int8_storage(getattr(model.get_model_object("diffusion_model"), "precision", EXACT))


def weight_format(network: ComfyTransformer) -> str:
    """Of the blocks' linears: a quantised file's own name for it, or the dtype."""
    last: Any = cast(Block, network.blocks[-1]).ffn[2]
    packed = getattr(last.weight, "tensor_type", None)  # of ComfyUI-GGUF
    return (getattr(last, "quant_format", None) or getattr(packed, "name", packed)
            or str(network.dtype or last.weight.dtype).removeprefix("torch."))


class SCAIL2(comfy.model_base.WAN21_SCAIL2):
    """Core's SCAIL-2 model, which knows the conditions and how context windows slice them, around our network."""

    def __init__(self, model_config, model_type=comfy.model_base.ModelType.FLOW, device=None) -> None:
        # past core's own constructors, which would build core's network
        super(comfy.model_base.WAN21, self).__init__(model_config, model_type, device=device,
                                                     unet_model=ComfyTransformer)  # pyright: ignore[reportCallIssue]
        self.image_to_video = False
        self.memory_usage_factor_conds = ("reference_latent", "pose_latents")


class SCAIL2Config(comfy.supported_models.WAN21_T2V):
    """Wan 2.1's latents, dtypes and memory factor, for the sizes of one checkpoint."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(asdict(config))

    def get_model(self, state_dict: dict[str, Tensor], prefix: str = "", device=None) -> SCAIL2:
        return SCAIL2(self, device=device)
