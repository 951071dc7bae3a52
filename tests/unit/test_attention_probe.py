"""Attention of other packages is judged by what it computes and how long it takes, here on the CPU with functions that
are right, wrong, sparse and slow."""

import logging
import time
from functools import partial

import pytest
import torch

from scail_model.attention import sdpa
from scail_model.kernels import attention_backends as backends
from scail_model.kernels import attention_choice
from scail_model.kernels import attention_probe as probe

CPU = torch.device("cpu")
TOKENS, HEADS = 1024, 2


def same(q, k, v, heads):
    return sdpa(q, k, v, heads)


def slow(q, k, v, heads):
    time.sleep(0.2)
    return sdpa(q, k, v, heads)


def in_four_bits(x):
    """One scale for each row."""
    scale = x.abs().amax(-1, keepdim=True) / 7
    return (x / scale).round() * scale


def rough(q, k, v, heads):
    return sdpa(in_four_bits(q), in_four_bits(k), in_four_bits(v), heads)


def half_of_the_keys(q, k, v, heads):
    return sdpa(q, k[:, ::2].contiguous(), v[:, ::2].contiguous(), heads)


def best_blocks(q, k, v, heads, share, worst=False):
    """Sparse: of each block of 64 queries the blocks of 64 keys with the largest mean scores."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2).float() for x in (q, k, v))
    means = [x.unflatten(2, (-1, 64)).mean(3) for x in (q, k)]
    scores = means[0] @ means[1].transpose(-1, -2) * (-1 if worst else 1)
    kept = scores >= scores.topk(int(share * scores.shape[-1]), -1).values[..., -1:]
    mask = kept.repeat_interleave(64, 2).repeat_interleave(64, 3)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def other_tokens(q, k, v, heads):
    return sdpa(q, k, v, heads).roll(64, 1)


def nothing(q, k, v, heads):
    return torch.full_like(q, torch.nan)


@pytest.mark.parametrize(("function", "right"), [
    (same, True), (partial(best_blocks, share=0.5), True), (partial(best_blocks, share=0.5, worst=True), False),
    (half_of_the_keys, False), (rough, False), (other_tokens, False), (nothing, False)])
def test_right_and_wrong(function, right):
    measured = probe.measure(function, same, CPU, tokens=TOKENS, heads=HEADS)
    assert (measured.why_not() is None) == right
    if not right:
        assert measured.why_not().startswith("its results are wrong here (")


@pytest.mark.parametrize(("function", "exact", "worth"), [(same, slow, True), (slow, same, False)])
def test_fast_and_slow(function, exact, worth):
    measured = probe.measure(function, exact, CPU, "exact", tokens=TOKENS, heads=HEADS)
    assert measured.why_not() is None
    assert (measured.not_worth() is None) == worth


def test_it_is_said_in_one_line():
    assert str(probe.Measured(0.034, 2.06, "cudnn")) == "2.1 times as fast as cudnn, 3 % off"
    assert probe.Measured(0.01, 1.04, "cudnn").not_worth() == (
        "it is not faster here (1.0 times as fast as cudnn, 1 % off)")


def test_inputs_are_as_large_as_in_a_trained_network_and_have_loud_channels():
    q, k, v = probe.inputs(TOKENS, HEADS, CPU).float()
    varying = k - k.mean(1, keepdim=True)
    channels = varying.square().mean((0, 1)).sqrt()
    assert 1.0 < varying.square().mean().sqrt() < 1.6  # what 8 bits take
    assert channels.max() > 2 * channels.median()
    weights = (q[0, :, :128] @ k[0, :, :128].T * 128**-0.5).softmax(-1)
    assert 5 < (1 / weights.square().sum(-1)).mean() < 200  # keys that a row attends to


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(probe, "measure", partial(probe.measure, tokens=TOKENS, heads=HEADS))


def candidate(function, missing=None):
    return probe.Candidate("int8", function, lambda device: missing)


def test_a_candidate_is_tried_once(quick, caplog):
    calls = []

    def counted(*given):
        calls.append(given)
        return same(*given)

    tried = candidate(counted)
    with caplog.at_level(logging.INFO):
        first = tried.why_not(CPU)
        count = len(calls)
        assert tried.why_not(CPU) is first is None
        tried.not_worth(CPU)
    assert count == len(calls) > 1
    (line,) = caplog.messages
    assert line.startswith("SCAIL-2: attention int8: ")
    assert line.endswith(" times as fast as pytorch, 0 % off.")


def broken(*given):
    raise RuntimeError("no kernel image is available\nfor this device")


@pytest.mark.parametrize(("tried", "reason"), [
    (candidate(same, "it needs a GPU"), "it needs a GPU"),
    (candidate(broken), "it does not run here (RuntimeError: no kernel image is available)"),
    (candidate(other_tokens), "its results are wrong here (")])
def test_what_does_not_work_says_why(quick, tried, reason):
    assert tried.why_not(CPU).startswith(reason)


def test_too_little_memory_is_tried_again(quick):
    full = [True]

    def function(*given):
        if full:
            full.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return same(*given)

    tried = candidate(function)
    assert tried.why_not(CPU) == "there was too little memory to try it"
    assert tried.why_not(CPU) is None


@pytest.mark.parametrize("name", ["int8_attention", "sol_attn"])
def test_comfy_kitchen_is_asked_only_for_a_gpu(name):
    assert probe.kitchen_lacks(name, CPU) == "it needs a GPU"


def row(name, precision, **answers):
    return backends.AttentionBackend(name, precision, answers.get("why_not", lambda device: None), "",
                                     answers.get("not_worth", lambda device: None))


@pytest.mark.parametrize(("precision", "name"), [("exact", "core"), ("8-bit", "b"), ("fast", "d")])
def test_a_mode_takes_the_fastest_of_its_own_and_of_more_exact_ones(monkeypatch, precision, name):
    """What is not faster is left out, and its reason given."""
    monkeypatch.setattr(backends, "BACKENDS", (
        backends.BACKENDS[0], row("a", "exact", why_not=lambda device: "it needs a GPU"), row("b", "8-bit"),
        row("c", "8-bit", not_worth=lambda device: "it is not faster here"), row("d", "fast")))
    backend, reasons = backends.fastest(precision, CPU)
    assert backend.name == name
    assert ("c is not used: it is not faster here" in reasons) == (precision == "8-bit")


def test_an_attention_that_is_asked_for_need_not_be_faster(monkeypatch):
    """Only right."""
    host = attention_choice.HostAttention("core", "pytorch", sdpa)
    monkeypatch.setattr(attention_choice, "BACKENDS", (row("int8", "8-bit", not_worth=lambda device: "it is slower"),))
    assert attention_choice.choose("int8", CPU, "exact", host).name == "int8"
    monkeypatch.setattr(attention_choice, "BACKENDS", (row("int8", "8-bit", why_not=lambda device: "it needs a GPU"),))
    with pytest.raises(ValueError, match="attention is int8, but it needs a GPU"):
        attention_choice.choose("int8", CPU, "exact", host)
