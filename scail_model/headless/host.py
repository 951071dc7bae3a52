"""The command line as the engine's host: diffusers' VAE, transformers' encoders, our transformer in PyTorch.

Models are loaded when something asks for them, one after the other; a run whose segments are all finished loads none.
"""

from __future__ import annotations

import contextlib
import copy
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
from ..video.at_once import place_of
from ..video.host import Host, SampleRequest
from ..video.plan_parser import Change
from ..video.segment_inputs import prompt_texts
from ..video.task import SegmentInputs
from . import int8, kept_models
from .attention import choose, prepare_further
from .encoders import VAE, EncoderFiles, encode_clip, encode_texts, tokenize
from .file_keys import file_key
from .kept_models import KeptModels, free
from .sampling import reference_conditions, sample_latent
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
        self.encoders, self.weights, self.dtype = encoders, weights, dtype
        self.offload, self.stage = offload, stage
        self.precision, self.attention = precision, choose(attention, device, precision)
        self.use(choice or GpuChoice((device,)))
        self.models = models or KeptModels()
        self._usual = precision == EXACT and attention == AUTOMATIC
        self._prompts: list[Prompt] = []
        self._embeddings: dict[Prompt, Tensor] = {}
        self._references: dict[Pictures, Reference] = {}

    def use(self, choice: GpuChoice, *, alone: bool = True) -> None:
        """Work on these GPUs from now on. alone: whether each of them has room for a segment by itself. Raises
        ValueError as the constructor."""
        for gpu in choice.devices[1:]:
            prepare_further(gpu, self.attention, self.precision)
        self.choice, self._alone = choice, alone
        self._places = range(len(choice.devices))  # in that choice: of the GPUs that work here

    @property
    def description(self) -> str:
        weights = "int8" if int8_storage(self.precision) else str(self.dtype).removeprefix("torch.")
        return f"precision {self.precision}, weights {weights}, attention {self.attention.name}"

    @property
    def devices(self) -> Sequence[torch.device]:
        """The GPUs that sample together; the first computes everything else."""
        return [self.choice.devices[place] for place in self._places]

    @property
    def device(self) -> torch.device:
        return self.devices[0]

    @property
    def sparse(self) -> bool:
        return self.attention.sparse

    @property
    def lanes(self) -> Sequence[Host]:
        return [self._lane(place) for place in self._places] if self._alone and len(self._places) > 1 else []

    def _lane(self, place: int) -> HeadlessHost:
        """One of the GPUs, with the same prompts, references and weights, and a VAE of its own."""
        lane = copy.copy(self)
        lane._places = range(place, place + 1)
        return lane

    def prepare(self, inputs: Sequence[SegmentInputs]) -> None:
        for one in inputs:
            for prompt in (one.positive, one.negative):
                self._embedding(prompt)
            self._reference(one.reference)
        for place in self._places:
            _ = self._lane(place)._vae, self._network(place)

    @property
    def place(self) -> str:
        if not self._is_whole:
            return place_of(self._places[0])
        return f"{len(self._places)} GPUs" if len(self._places) > 1 else ""

    @property
    def _is_whole(self) -> bool:
        """Not one of several lanes."""
        return len(self._places) == len(self.choice.devices)

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

    def encode(self, frames: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        with self._current():
            return self._vae.encode(frames.movedim(-1, 1), check)

    def sample(self, request: SampleRequest) -> Tensor:
        with self._current():
            return self._sampled(request)

    def _sampled(self, request: SampleRequest) -> Tensor:
        inputs = request.inputs
        positive, negative = self._embedding(inputs.positive), self._embedding(inputs.negative)
        reference, normalised = self._reference(inputs.reference), self._vae.normalised
        # the strength multiplies what the VAE gives, as core's pose_strength does
        conditions = {**reference_conditions(reference, list(map(normalised, reference.latents)), self.device),
                      "replacement": request.replacement,
                      "driving_latents": normalised(request.driving * inputs.driving_strength),
                      "driving_masks": request.driving_mask[None].to(self.device)}
        latent = sample_latent(self._placed(request.check), positive, negative if inputs.guidance > 1 else None,
                               reference.clip.to(self.device), conditions, request.noise.to(self.device),
                               request.settings, guidance=inputs.guidance, steered_from=negative,
                               history=None if request.history is None else normalised(request.history),
                               history_strength=inputs.history_strength, on_step=request.on_step,
                               sparse=request.sparse, lock=request.lock and request.lock.normalised(normalised))
        if self.offload:
            self._leave()
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
                                 ("CLIP", reference.clip)])
        return not_finite.AROSE if part is None else not_finite.in_reference(part)

    def decode(self, latent: Tensor, check: Callable[[], None]) -> Tensor:
        with self._current():
            return self._vae.decode(latent.to(self.device), check).movedim(1, -1)

    def _current(self) -> contextlib.AbstractContextManager[Any]:
        """Kernels are launched on the thread's current GPU."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()

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

    @property
    def _vae(self) -> VAE:
        def load() -> VAE:
            self.stage("loading the VAE")
            return VAE(self.encoders, self.device, self.devices)

        kind = kept_models.VAE if self._is_whole else f"{kept_models.VAE} of {self.place}"
        return self.models.of(kind, digest(file_key(self.encoders.vae), *map(str, self.devices)), load)

    @property
    def _transformer(self) -> SCAIL2Transformer:
        """The first GPU's network."""
        first = self.choice.devices[0]

        def load() -> SCAIL2Transformer:
            self.stage("loading the transformer")
            return self.weights.build(first, self.dtype, self.attention, self.precision,
                                      home=torch.device("cpu") if self.offload else first)

        return self.models.of(kept_models.TRANSFORMER, self._network_key(first), load)

    @property
    def _replicas(self) -> nn.ModuleList:
        """The networks of the other GPUs, without weights at first."""
        return self.models.of(kept_models.REPLICAS, self._network_key(*self.choice.devices), lambda: nn.ModuleList(
            self.weights.empty(self.attention, self.precision) for _ in self.choice.devices[1:]))

    def _network_key(self, *devices: torch.device) -> str:
        return digest(self.weights.key, str(self.dtype), *map(str, devices), self.precision, self.attention.name)

    def _network(self, place: int) -> SCAIL2Transformer:
        replicas = self._replicas  # asked for with one GPU too: those of a run before are given up
        return cast(SCAIL2Transformer, replicas[place - 1]) if place else self._transformer

    def _placed(self, check: Callable[[], None]) -> SCAIL2Transformer | SeveralGpus:
        """The network with its weights on its GPUs. In main memory they lie once at most: further GPUs are given those
        of the first."""
        networks = [self._network(place) for place in self._places]
        for place, network, device in zip(self._places, networks, self.devices, strict=True):
            if place:
                fill(network, self._transformer, device)
            else:
                network.to(device)
        return networks[0] if not self.place else SeveralGpus(networks, self.devices, check)

    def _leave(self) -> None:
        """Make room for the VAE."""
        for place in self._places:
            self._network(place).to("meta" if place else "cpu")

    def _embedding(self, prompt: Prompt) -> Tensor:
        if prompt.embedding is not None:
            return prompt.embedding.to(self.device)
        if prompt not in self._embeddings:
            self.stage("reading the prompts")
            waiting = [known for known in self._prompts if known not in self._embeddings]
            tokens = [cast(Tensor, known.tokens) for known in waiting]
            texts = encode_texts(self.encoders, tokens, self.device, self.dtype, self.models)
            self._embeddings |= dict(zip(waiting, texts, strict=True))
        return self._embeddings[prompt].to(self.device)

    def _reference(self, pictures: Pictures) -> Reference:
        if pictures not in self._references:
            self.stage("encoding the references")
            self._references[pictures] = encode_reference(pictures, self.encode, self._clip)
            free()
        return self._references[pictures]

    def _clip(self, pixels: Tensor) -> Tensor:
        return encode_clip(self.encoders, pixels, self.device, self.models)
