"""A segment sampled on several GPUs is the one of one GPU, to the bit, and an error on one of them ends all. The GPUs
are CPUs here, which share the weights."""

from __future__ import annotations

import functools
import gc
import os
import signal
import threading
import weakref
from contextlib import contextmanager

import pytest
import torch

from scail_model.attention import sdpa
from scail_model.config import TransformerConfig
from scail_model.headless.sampling import sample_latent
from scail_model.headless.several_gpus import SeveralGpus, fill
from scail_model.headless.weights import Weights
from scail_model.kernels.attention_choice import HostAttention, choose
from scail_model.kernels.precision import EIGHT_BIT, EXACT, FAST
from scail_model.sparse.run import SparseRun
from scail_model.sparse.settings import SparseSettings
from scail_model.video.task import Settings
from tests.demo import small_models

CPU = torch.device("cpu")
CASES = {
    "animation": {},
    "replacement": {"replacement": True},
    "with history": {"history": True, "history_strength": 0.8},
    "without guidance": {"guidance": 1.0},
    "with negative strength": {"guidance": 1.0, "negative_strength": 11.0},
    "with additional references": {"additional": 2, "history": True},
    "driven for a part": {"driving_end": 0.4},
    "8-bit": {"precision": EIGHT_BIT, "replacement": True, "history": True},
    "sparse": {"precision": FAST, "large": True, "history": True},
    "sparse without guidance": {"precision": FAST, "large": True, "guidance": 1.0},
}


@functools.cache
def networks(precision: str, heads: int = 4, count: int = 4):
    """`count` of the same random weights, in the way of `HeadlessHost`."""
    config = TransformerConfig(dim=128 * heads, ffn_dim=256, num_heads=heads, num_layers=2, text_dim=64, text_len=16)
    weights = Weights(None, config, dict(small_models.transformer(config).state_dict()))
    attention = choose("automatic", CPU, precision, HostAttention("pytorch", "pytorch", sdpa))
    first = weights.build(CPU, torch.float32, attention, precision)
    others = [weights.empty(attention, precision) for _ in range(count - 1)]
    for network in others:
        fill(network, first, CPU)
    return first, *others


@contextmanager
def hooked(*hooks):
    """What is called before a block (network, number of the block, function) for a while."""
    there = [network.blocks[number].register_forward_pre_hook(lambda *_, call=call: (call(), None)[1])
             for network, number, call in hooks]
    try:
        yield
    finally:
        for hook in there:
            hook.remove()


def failing(error):
    def fail():
        raise error

    return fail


def sampled(transformer, *, replacement=False, history=False, history_strength=1.0, guidance=4.0, negative_strength=0.0,
            additional=0, driving_end=1.0, large=False, sparse=False, on_step=lambda step, denoised: None):
    """The latent of three steps from random inputs, and what sparse attention measured."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    def masks(frames, side):
        return torch.rand((1, 28, frames, side, side), generator=generator)

    side = 32 if large else 8
    conditions = {"reference_latents": random(1, 16, 1, side, side), "reference_masks": masks(1, side),
                  "driving_latents": random(1, 16, 3, side // 2, side // 2), "driving_masks": masks(3, side // 2),
                  "replacement": replacement}
    if additional:
        conditions |= {"additional_latents": random(1, 16, additional, side, side),
                       "additional_masks": masks(additional, side)}
    positive, negative, clip = random(1, 7, 64), random(1, 5, 64), random(1, 257, 1280)
    run = SparseRun(SparseSettings(0.4, 0.0)) if sparse else None
    settings = Settings("unipc", 3, 3.0, guidance, 0, 9, 5, False, driving_end=driving_end,
                        negative_strength=negative_strength)
    with torch.inference_mode():
        latent = sample_latent(transformer, positive, negative if guidance > 1 else None, clip, conditions,
                               random(1, 16, 3, side, side), settings, guidance=guidance, steered_from=negative,
                               history=random(1, 16, 2, side, side) if history else None,
                               history_strength=history_strength, sparse=run, on_step=on_step)
    return latent, [] if run is None else [run.errors, run.calibration()]


def on_gpus(group):
    return SeveralGpus(group, (CPU,) * len(group))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_latent_is_that_of_one_gpu(case):
    how = dict(case)
    precision = how.pop("precision", EXACT)
    group, sparse = networks(precision), precision == FAST
    expected, measured = sampled(group[0], sparse=sparse, **how)
    if sparse:
        assert any(error.error > 0 for error in measured[0])
    for count in (2, 4):
        latent, also = sampled(on_gpus(group[:count]), sparse=sparse, **how)
        assert torch.equal(latent, expected), count
        assert also == measured, count


def test_an_odd_number_shares_the_rows_of_both_prompts():
    group = networks(EXACT, 3, 3)
    assert torch.equal(sampled(on_gpus(group))[0], sampled(group[0])[0])


def test_the_halves_of_guidance_are_computed_at_once():
    """Each half waits for the other one before its first block."""
    group, meeting = networks(EXACT)[:2], threading.Barrier(2)
    expected = sampled(group[0])[0]
    with hooked(*((network, 0, lambda: meeting.wait(30)) for network in group)):
        assert torch.equal(sampled(on_gpus(group))[0], expected)


# Errors

class Accident(Exception):
    pass


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), KeyboardInterrupt(), Accident()], ids=repr)
def test_an_error_on_one_gpu_ends_all_and_the_next_run_works(count, guidance, at, error):
    group = networks(EXACT)[:count]
    expected = sampled(on_gpus(group), guidance=guidance)[0]
    threads = threading.active_count()  # some wait a while for more work
    with hooked((group[at], 0, failing(error))), pytest.raises(type(error)) as raised:
        sampled(on_gpus(group), guidance=guidance)
    assert raised.value is error
    assert threading.active_count() <= threads
    assert torch.equal(sampled(on_gpus(group), guidance=guidance)[0], expected)


@pytest.mark.parametrize("count", [2, 4])
def test_an_error_in_one_half_is_heard_in_the_other(count):
    """Which then does not begin its next block."""
    group, failed, reached = networks(EXACT)[:count], threading.Event(), []

    def fail():
        failed.set()
        raise Accident

    others = group[: count // 2]
    with hooked((group[-1], 0, fail), *((network, 0, lambda: failed.wait(30)) for network in others),
                *((network, 1, lambda: reached.append(1)) for network in others)), pytest.raises(Accident):
        sampled(on_gpus(group))
    assert not reached


def test_ctrl_c_ends_all():
    group = networks(EXACT)
    expected, threads = sampled(on_gpus(group))[0], threading.active_count()
    with hooked((group[3], 0, lambda: os.kill(os.getpid(), signal.SIGINT))), pytest.raises(KeyboardInterrupt):
        sampled(on_gpus(group))
    assert threading.active_count() <= threads
    assert torch.equal(sampled(on_gpus(group))[0], expected)


def test_a_hundred_starts_and_cancels_leave_nothing():
    def stop(step, denoised):
        raise Accident

    group, lives = networks(EXACT), weakref.WeakSet()
    sampled(on_gpus(group))
    threads = threading.active_count()
    for number in range(100):
        several = on_gpus(group[: 2 + number % 2 * 2])
        lives.add(several)
        with pytest.raises(Accident):
            sampled(several, guidance=1.0 + number % 3, on_step=stop)
    del several
    gc.collect()
    assert threading.active_count() <= threads
    assert not lives
