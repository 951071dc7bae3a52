"""What other nodes may do to a MODEL: our network honours what core's Wan models read, and the rest is refused with a
sentence before anything is loaded, because a node that acts on nothing would look as if it worked."""

from __future__ import annotations

import inspect
import re
from typing import Any

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP

CHECK, RUNS, GPUS = "scail2_check", "scail2_sparse", "scail2_gpus"  # the keys of our own wrappers and callbacks
OURS = {CHECK, RUNS, GPUS}
NETWORK = "diffusion_model"
COPIES = "multigpu"  # core's key of a MODEL's copies on other GPUs

_KINDS = ("attn1_patch", "attn2_patch", "double_block")
_REPLACEMENTS = ("dit",)
# object patches that act: what is called, or read, by these names
_CALLED = re.compile(r"diffusion_model(\.forward"
                     r"|\.(blocks\.\d+|head)\.modulation"
                     r"|\.text_embedding(\.\d+)?(\.forward)?"
                     r"|\.blocks\.\d+"
                     r"|\.blocks\.\d+\.(self_attn|cross_attn|ffn)\.forward"
                     r"|\.blocks\.\d+\.(self_attn|cross_attn)\.(q|k|v|o|k_img|v_img)(\.forward)?"
                     r"|\.blocks\.\d+\.ffn\.[02](\.forward)?)?")
# nodes for a sequence that holds the video and nothing else: where their patches come from, or what they set
_VIDEO_ONLY_MODULES = {"comfy.ldm.wan.model_multitalk": "WanInfiniteTalkToVideo"}
_VIDEO_ONLY_OPTIONS = {"enhance_weight": "WanVideoEnhanceAVideoKJ"}


def check(model) -> None:
    """Raise ValueError if a node has set something on a MODEL that our network does not read."""
    check_options(model.model_options.get("transformer_options", {}))
    for name, patch in model.object_patches.items():
        if name.startswith("diffusion_model") and not _CALLED.fullmatch(name):
            raise ValueError(f"{origin(patch)} replaces {name}, which our network does not call: remove that node "
                             "from the model's line, or load the model with core's Load Diffusion Model.")


def check_options(transformer_options: dict[str, Any]) -> None:
    """The same for the options of one call: some nodes set theirs only while they sample."""
    nodes = [node for option, node in _VIDEO_ONLY_OPTIONS.items() if option in transformer_options]
    patches = transformer_options.get("patches", {})
    nodes += [_VIDEO_ONLY_MODULES[module] for of_kind in patches.values() for patch in of_kind
              if (module := type(patch).__module__) in _VIDEO_ONLY_MODULES]
    for node in nodes:
        raise ValueError(f"{node} counts on tokens of the video alone, while SCAIL-2 reads the reference and the "
                         "driving video in the same sequence: remove that node from the model's line.")
    for kind, of_kind in patches.items():
        for patch in of_kind:
            reason = _why_not(kind, patch)
            if reason is not None:
                raise ValueError(f"{origin(patch)} has put a patch of kind {kind} on the model, {reason}: remove that "
                                 "node from the model's line.")
    for kind, replacements in transformer_options.get("patches_replace", {}).items():
        for replacement in replacements.values() if kind not in _REPLACEMENTS else ():
            raise ValueError(f"{origin(replacement)} replaces parts of kind {kind}, which SCAIL-2's network does not "
                             "have: remove that node from the model's line.")


def origin(patch: Any) -> str:
    """The class or function that a patch comes from, and its module: as near to the node's name as can be known."""
    named = patch if hasattr(patch, "__qualname__") else getattr(patch, "__func__", type(patch))
    # nodes of other packs lie in modules that are named by their paths
    module = re.split(r"[\\/]", named.__module__)[-1].removeprefix("comfy_extras.")
    return f"{named.__qualname__.split('.')[0]} ({module})"


def add_check(patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Check whenever a sampler is about to load the model, after all nodes have done their work."""
    patcher.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, CHECK, _checked)


def without_ours(held: dict[str, dict]) -> dict[str, dict]:
    """A patcher's wrappers or callbacks as they would be without ours."""
    return {kind: {key: functions for key, functions in of_kind.items() if key not in OURS}
            for kind, of_kind in held.items() if not of_kind.keys() <= OURS}


def _checked(executor, model, *rest, **options):
    check(model)
    return executor(model, *rest, **options)


def _why_not(kind: str, patch: Any) -> str | None:
    """Why a patch cannot act, as the end of a sentence."""
    if kind not in _KINDS:
        return "which no part of SCAIL-2's network runs"
    if not _takes_one_argument(patch):
        return "which is made for another kind of network"
    return None


def _takes_one_argument(patch: Any) -> bool:
    try:
        inspect.signature(patch).bind({})
    except TypeError:
        return False
    except ValueError:  # compiled code tells nothing
        return True
    return True
