"""The command line as the engine's host: diffusers' VAE, transformers' encoders, our transformer in PyTorch.

Models are loaded when something asks for them, one after the other; a run whose segments are all finished loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from torch import Tensor, nn

from ..files import prompts
from ..files.content_keys import digest
from ..gpus.choice import GpuChoice
from ..inputs.reference import Pictures, Reference, encode_reference
from ..kernels.attention_backends import AUTOMATIC
from ..kernels.precision import EXACT, int8_storage
from ..transformer import SCAIL2Transformer
from ..video import not_finite
from ..video.host import Host, SampleRequest
from ..video.plan_parser import Change
from ..video.segment_inputs import prompt_texts
from ..video.task import SegmentInputs
from . import int8, kept_models
from .attention import choose
from .encoders import VAE, EncoderFiles, encode_clip, encode_texts, tokenize
from .file_keys import file_key
from .kept_models import KeptModels, free
from .sampling import sample_latent
from .several_gpus import SeveralGpus, fill
from .weights import Weights


@dataclass(frozen=True, eq=False)
class Prompt:
    """A text as tokens [1, L], or an embedding [1, L, 4096] from a file."""

    tokens: Tensor | None = None
    embedding: Tensor | None = None


class HeadlessHost:
    """The engine's `Host`. offload: the transformer waits in main memory while the VAE works. stage: told what is being
    loaded. precision, attention: as in Load SCAIL-2 Model. models: those of the run before, and for the next. choice:
    the GPUs that sample together, of which `device` is the first. Raises ValueError for an attention that does not run
    on one of them."""

    def __init__(self, encoders: EncoderFiles, weights: Weights, device: torch.device, dtype: torch.dtype, *,
                 offload: bool, stage: Callable[[str], None], precision: str = EXACT, attention: str = AUTOMATIC,
                 models: KeptModels | None = None, choice: GpuChoice | None = None) -> None:
        self.encoders, self.weights, self.device, self.dtype = encoders, weights, device, dtype
        self.offload, self.stage = offload, stage
        self.precision, self.attention = precision, choose(attention, device, precision)
        self.choice = choice or GpuChoice((device,))
        # each GPU has to be prepared
        self._attentions = [self.attention, *(choose(self.attention.name, gpu, precision) for gpu in self.devices[1:])]
        self.models = models or KeptModels()
        self._usual = precision == EXACT and attention == AUTOMATIC
        self._prompts: list[Prompt] = []
        self._embeddings: dict[Prompt, Tensor] = {}
        self._references: dict[Pictures, Reference] = {}

    @property
    def description(self) -> str:
        weights = "int8" if int8_storage(self.precision) else str(self.dtype).removeprefix("torch.")
        return f"precision {self.precision}, weights {weights}, attention {self.attention.name}"

    @property
    def devices(self) -> Sequence[torch.device]:
        """The GPUs that sample together; the first computes everything else."""
        return self.choice.devices

    @property
    def gpus(self) -> str:
        """The same in words, for reports; "" for one. Not for the file's metadata: the file does not depend on it."""
        count = len(self.devices)
        return f"{count} GPUs ({', '.join(map(str, self.devices))})" if count > 1 else ""

    @property
    def sparse(self) -> bool:
        return self.attention.sparse

    @property
    def lanes(self) -> Sequence[Host]:
        return ()

    def prepare(self, inputs: Sequence[SegmentInputs]) -> None:
        for one in inputs:
            for prompt in (one.positive, one.negative):
                self._embedding(prompt)
            self._reference(one.reference)

    @property
    def place(self) -> str:
        return ""

    @property
    def key(self) -> str:
        return self._key

    @cached_property
    def _key(self) -> str:
        # work from before there was a choice is found
        how = [] if self._usual else [self.precision, self.attention.name]
        return digest(self.weights.key, str(self.dtype), file_key(self.encoders.vae), *how)

    # Prompts and references, which are encoded together with the first sampling

    def check_change(self, change: Change, number: int) -> None:
        for text, name in prompt_texts(change, number):
            self.encode_text(text, name)
        if change.saved_prompt is not None:
            self.saved_prompt(change.saved_prompt)

    def encode_text(self, text: str, name: str) -> Prompt:
        prompt = Prompt(tokenize(self.encoders, text, self.weights.config.text_len, name))
        self._prompts.append(prompt)
        return prompt

    def saved_prompt(self, name: str) -> Prompt:
        path = Path(prompts.file_name(name))
        if not path.is_file():
            raise ValueError(f"The plan's saved_prompt {path} does not exist: give the path of a file that Save Prompt "
                             "Embedding has written.")
        return Prompt(embedding=prompts.load(path)[0][0].float())

    def prompt_key(self, positive: Prompt, negative: Prompt) -> str:
        return digest([(prompt.tokens, prompt.embedding) for prompt in (positive, negative)],
                      file_key(self.encoders.text))

    def reference_key(self, reference: Pictures) -> str:
        full = reference.full
        return digest(reference.width, reference.height, list(reference.images), reference.identities.digest(),
                      reference.cut_out, reference.as_video, file_key(self.encoders.clip),
                      *(() if full is None else (full.width, full.height)))

    # The engine's four requests

    def encode(self, frames: Tensor) -> Tensor:
        return self._vae.encode(frames.movedim(-1, 1))

    def sample(self, request: SampleRequest) -> Tensor:
        inputs = request.inputs
        positive, negative = self._embedding(inputs.positive), self._embedding(inputs.negative)
        reference, normalised = self._reference(inputs.reference), self._vae.normalised
        # the strength multiplies what the VAE gives, as core's pose_strength does
        conditions = {**_reference_conditions(reference, list(map(normalised, reference.latents)), self.device),
                      "replacement": request.replacement,
                      "driving_latents": normalised(request.driving * inputs.driving_strength),
                      "driving_masks": request.driving_mask[None].to(self.device)}
        latent = sample_latent(self._placed(), positive, negative if inputs.guidance > 1 else None, reference.clip,
                               conditions, request.noise.to(self.device), request.settings, guidance=inputs.guidance,
                               steered_from=negative,
                               history=None if request.history is None else normalised(request.history),
                               history_strength=inputs.history_strength, on_step=request.on_step,
                               sparse=request.sparse, lock=request.lock and request.lock.normalised(normalised))
        if self.offload:
            self._left()
        return self._vae.denormalised(latent)

    def find_not_finite(self, inputs: SegmentInputs) -> str:
        parameters = self._transformer.state_dict().items()
        weight = not_finite.first((int8.name_in_file(name), tensor) for name, tensor in parameters)
        if weight is not None:  # LoRAs were looked through before
            return not_finite.in_weight(weight) if self.weights.spoilt(weight) else not_finite.by_strength(weight)
        prompt = not_finite.first((name, self._embedding(prompt)) for name, prompt in (
            ("positive", inputs.positive), ("negative", inputs.negative)))
        if prompt is not None:
            return not_finite.in_prompt(prompt)
        reference = self._reference(inputs.reference)
        part = not_finite.first([*(("VAE", latent) for latent in reference.latents),
                                 ("CLIP", reference.clip["penultimate_hidden_states"])])
        return not_finite.AROSE if part is None else not_finite.in_reference(part)

    def decode(self, latent: Tensor) -> Tensor:
        return self._vae.decode(latent.to(self.device)).movedim(1, -1)

    def reset_peak(self) -> None:
        if self.device.type == "cuda":
            for gpu in self.devices:
                torch.cuda.reset_peak_memory_stats(gpu)

    def memory(self) -> str:
        if self.device.type != "cuda":
            return f"{psutil.virtual_memory().available / 2**30:.1f} GiB of main memory free"
        most = max(map(torch.cuda.max_memory_allocated, self.devices))
        return f"at most {most / 2**30:.1f} GiB of GPU memory{' on each GPU' if len(self.devices) > 1 else ''}"

    # Models

    @cached_property
    def _vae(self) -> VAE:
        def load() -> VAE:
            self.stage("loading the VAE")
            return VAE(self.encoders, self.device)

        return self.models.of(kept_models.VAE, digest(file_key(self.encoders.vae), str(self.device)), load)

    @cached_property
    def _transformer(self) -> SCAIL2Transformer:
        def load() -> SCAIL2Transformer:
            self.stage("loading the transformer")
            return self.weights.build(self.device, self.dtype, self.attention, self.precision,
                                      home=torch.device("cpu") if self.offload else self.device)

        return self.models.of(kept_models.TRANSFORMER, self._network_key(self.device), load)

    @cached_property
    def _replicas(self) -> nn.ModuleList:
        """The networks of further GPUs, without weights at first."""
        def load() -> nn.ModuleList:
            return nn.ModuleList(self.weights.empty(attention, self.precision) for attention in self._attentions[1:])

        return self.models.of(kept_models.REPLICAS, self._network_key(*self.devices), load)

    def _network_key(self, *gpus: torch.device) -> str:
        return digest(self.weights.key, str(self.dtype), *map(str, gpus), self.precision, self.attention.name)

    def _placed(self) -> SCAIL2Transformer | SeveralGpus:
        """The network with its weights on its GPUs. In main memory they lie once at most: further GPUs are given those
        of the first."""
        first, others = self._transformer.to(self.device), cast("Sequence[SCAIL2Transformer]", self._replicas)
        if not len(others):
            return first
        for network, gpu in zip(others, self.devices[1:], strict=True):
            fill(network, first, gpu)
        return SeveralGpus((first, *others), self.devices)

    def _left(self) -> None:
        """The weights leave the GPUs."""
        self._transformer.to("cpu")
        self._replicas.to("meta")

    def _embedding(self, prompt: Prompt) -> Tensor:
        if prompt.embedding is not None:
            return prompt.embedding.to(self.device)
        if prompt not in self._embeddings:
            self.stage("reading the prompts")
            waiting = [known for known in self._prompts if known not in self._embeddings]
            tokens = [cast(Tensor, known.tokens) for known in waiting]
            texts = encode_texts(self.encoders, tokens, self.device, self.dtype, self.models)
            self._embeddings |= dict(zip(waiting, texts, strict=True))
        return self._embeddings[prompt]

    def _reference(self, pictures: Pictures) -> Reference:
        if pictures not in self._references:
            self.stage("encoding the references")
            self._references[pictures] = encode_reference(pictures, self.encode, self._clip)
            free()
        return self._references[pictures]

    def _clip(self, pixels: Tensor) -> Tensor:
        return encode_clip(self.encoders, pixels, self.device, self.models)


def _reference_conditions(reference: Reference, latents: Sequence[Tensor], device: torch.device) -> dict[str, Any]:
    """The transformer's arguments for the references, the primary apart from the others. latents: the reference's,
    normalised."""
    masks = reference.masks[0].movedim(0, 1)[None].to(device)  # [1, 28, n, h, w], the primary last
    conditions = {"reference_latents": latents[0], "reference_masks": masks[:, :, -1:]}
    if len(latents) > 1:
        conditions["additional_latents"] = torch.cat(tuple(latents[1:]), dim=2)  # [1, 16, n, H, W]
        conditions["additional_masks"] = masks[:, :, :-1]
    return conditions
