"""Sparse attention under ComfyUI: each sampling of a MODEL has a run of its own, which the network finds in its
options.

Sample SCAIL-2 Video gives the run. For KSampler and all other samplers a wrapper of the MODEL makes one with the usual
settings, and logs what the errors were. On several GPUs all of them have it: it keeps apart what it knows of each
prompt.
"""

from __future__ import annotations

import logging

from comfy.patcher_extension import WrappersMP

from ..kernels.sparse_attention import RUN
from ..sparse import report
from ..sparse.run import SparseRun
from ..sparse.settings import SparseSettings
from .overrides import set_by
from .patches import RUNS

log = logging.getLogger(__name__)


def is_sparse(model) -> bool:
    """Whether the self-attention of a MODEL is sparse, and no other node's comes before it."""
    network = model.get_model_object("diffusion_model")
    return hasattr(network, "backend") and network.backend.sparse and not set_by(
        model.model_options.get("transformer_options", {}))


def add_runs(patcher) -> None:
    """Give each sampling of a MODEL a run."""
    patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, RUNS, _with_a_run)


def with_run(model, run: SparseRun | None):
    """A MODEL whose next sampling takes this run; as it is for None."""
    if run is None:
        return model
    patcher = model.clone()
    patcher.model_options.setdefault("transformer_options", {})[RUN] = run
    return patcher


def _with_a_run(executor, *arguments, **options):
    guider = executor.class_obj
    if not is_sparse(guider.model_patcher):  # another node has exchanged the network or its attention
        return executor(*arguments, **options)
    # core has copied them for this sampling
    transformer_options = guider.model_options.setdefault("transformer_options", {})
    given = transformer_options.get(RUN)
    run = transformer_options[RUN] = given or SparseRun(SparseSettings())
    result = executor(*arguments, **options)
    if given is None and run.errors:
        log.info("SCAIL-2: %s", report.line(run.errors))
    return result
