"""ComfyUI as the engine's host: its VAE, text encoder and sampling functions, under its memory management."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, cast

import comfy.model_management
import comfy.sample
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ..files import prompts
from ..files.content_keys import digest
from ..inputs.reference import Pictures, Reference, encode_reference
from ..video.host import Host, SampleRequest
from ..video.plan_parser import Change
from ..video.task import SegmentInputs, Settings
from . import conditioning, gpus, keys, not_finite, sparse, video_vae
from .lanes import Lane, gpus_of_lanes, lanes_of
from .model import describe
from .sampler import check_sampler, is_ours, sampler_key, sampler_name, segment_sampler, segment_seed
from .shared_network import with_our_network
from .sharing import ticking


class ComfyHost:
    """The engine's `Host` over a MODEL, a VAE and, for prompts in the plan, a CLIP. Prompts are CONDITIONINGs. sampler:
    the SAMPLER that takes the place of the setting solver, or None. hooked: whether prompts turn LoRAs on and off. A
    MODEL of another loader is sampled with our network."""

    def __init__(self, model, vae, clip: Any = None, sampler: Any = None, *, hooked: bool = False) -> None:
        self._given, self.model = model, with_our_network(model)
        self.vae, self.clip, self.sampler, self.hooked = vae, clip, sampler, hooked
        self._references: dict[Pictures, Reference] = {}  # of drafts
        self._lane: Lane | None = None

    @property
    def description(self) -> str:
        sampler = "" if self.sampler is None else f", sampler {sampler_name(self.sampler)}"
        return f"{describe(self.model)}{sampler}"

    @property
    def gpus(self) -> str:
        """Those that make the video, for reports: "on 2 GPUs (cuda:0, cuda:1)", and why they are fewer than asked."""
        return gpus.line(self.model, self.hooked)

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Those that make a segment."""
        return gpus.gpus_of(self.model, self.hooked).devices

    @property
    def sparse(self) -> bool:
        return sparse.is_sparse(self.model)

    @property
    def lanes(self) -> Sequence[Host]:
        return [self._on(lane) for lane in lanes_of(self.model, self.vae)] if self.lane_count else ()

    @property
    def lane_count(self) -> int:
        """How many lanes there are, without making them."""
        if self.hooked or (self.sampler is not None and not is_ours(self.sampler)):
            return 0  # all threads share the hooks, and the generator from which a sampler may draw noise
        return len(gpus_of_lanes(self.model, self.vae))

    def _on(self, lane: Lane) -> ComfyHost:
        host = copy(self)
        host.model, host.vae, host._lane = lane.model, lane.vae, lane
        return host

    def prepare(self, inputs: Sequence[SegmentInputs]) -> None:
        for one in inputs:
            self._reference(one.reference)

    @property
    def place(self) -> str:
        if self._lane is not None:
            return self._lane.place
        count = len(self.devices)
        return f"{count} GPUs" if count > 1 else ""

    @property
    def key(self) -> str:
        network = "" if self.model is self._given else "our network"
        return digest(keys.model_key(self._given), keys.vae_key(self.vae),
                      *filter(None, [sampler_key(self.sampler), network]))

    def check_change(self, change: Change, number: int) -> None:
        check_sampler(self.sampler, 1.0 if change.history_strength is None else change.history_strength)
        if self.clip is None and (change.prompt is not None or change.negative_prompt is not None):
            raise ValueError("The plan has prompts, but no text encoder is connected: connect one to clip, or use "
                             "saved_prompt.")
        if change.saved_prompt is not None and folder_paths.get_full_path(
                prompts.FOLDER, prompts.file_name(change.saved_prompt)) is None:
            raise ValueError(f"The plan's saved_prompt {change.saved_prompt} is not in models/{prompts.FOLDER}: save "
                             "it with Save Prompt Embedding, or correct the name.")

    def encode_text(self, text: str, name: str) -> list:
        entries = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))
        conditioning.check_prompt(entries, name)
        self.hooked = self.hooked or gpus.are_hooked(entries)
        return entries

    def saved_prompt(self, name: str) -> list:
        entries = prompts.load(folder_paths.get_full_path_or_raise(prompts.FOLDER, prompts.file_name(name)))
        conditioning.check_prompt(entries, "plan's saved")
        return entries

    def prompt_key(self, positive: list, negative: list) -> str:
        return keys.prompt_key([positive, negative])

    def reference_key(self, reference: Reference | Pictures) -> str:
        return keys.reference_key(reference)

    def encode(self, frames: Tensor, check: Callable[[], None]) -> Tensor:
        return video_vae.encode(self.vae, frames, check)

    def sample(self, request: SampleRequest) -> Tensor:
        if self._lane is not None:
            return self._lane.sample(partial(self._sample, request))
        return self._sample(request, self.model)

    def _sample(self, request: SampleRequest, model) -> Tensor:
        inputs, settings = request.inputs, request.settings
        sampler, sigmas = segment_sampler(self.sampler, settings, inputs.history_strength)
        seed = settings.seed if inputs.seed is None else inputs.seed
        motion = conditioning.motion(self._reference(inputs.reference), request.segment, request.driving,
                                     request.driving_mask, replacement=request.replacement, history=request.history,
                                     driving_strength=inputs.driving_strength, lock=request.lock)
        positive, negative = (self._conditioned(prompt, motion, settings)
                              for prompt in (inputs.positive, inputs.negative))
        model = ticking(sparse.with_run(model, request.sparse), request.check)
        return comfy.sample.sample_custom(
            model, request.noise, inputs.guidance, sampler, sigmas,
            conditioning.steered(positive, inputs.negative, settings.negative_strength), negative,
            motion.latent["samples"], noise_mask=motion.latent.get("noise_mask"),
            callback=lambda step, denoised, x, total: request.on_step(step, denoised),
            disable_pbar=self._lane is not None or not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=segment_seed(self.sampler, seed, request.segment.start))

    def _reference(self, reference: Reference | Pictures) -> Reference:
        """As it is, or of a draft, which is encoded when it is needed."""
        if isinstance(reference, Reference):
            return reference
        if reference not in self._references:
            full = cast(Reference, reference.full)
            self._references[reference] = encode_reference(reference, self.vae.encode, lambda _: full.clip)
        return self._references[reference]

    def _conditioned(self, prompt: list, motion: conditioning.Motion, settings: Settings) -> list:
        if settings.always_driven:
            return conditioning.with_values(prompt, motion.values)
        levels = conditioning.driving_levels(settings, self.model)
        return conditioning.with_motion_between(prompt, motion.values, levels, self.model)

    def find_not_finite(self, inputs: SegmentInputs) -> str:
        return not_finite.find(self.model, replace(inputs, reference=self._reference(inputs.reference)))

    def decode(self, latent: Tensor, check: Callable[[], None]) -> Tensor:
        devices = self.devices
        frames = video_vae.decode(self.vae, latent, devices if len(devices) > 1 else (), check).cpu()
        return frames.reshape(-1, *frames.shape[-3:])

    def reset_peak(self) -> None:
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)

    def memory(self) -> str:
        devices = self.devices
        if devices[0].type != "cuda":
            return f"{comfy.model_management.get_free_memory(devices[0]) / 2**30:.1f} GiB of main memory free"
        # weights that ComfyUI's dynamic memory holds are none of PyTorch's
        peaks = " and ".join(f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f}" for device in devices)
        return f"at most {peaks} GiB of GPU memory in PyTorch"
