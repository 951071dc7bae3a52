"""What the doctor measures, against calculations of its own; and that every part may fail alone."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import golden
import pytest
import torch

from scail_model.attention import sdpa
from scail_model.doctor import forwards as forwards_module
from scail_model.doctor import modes
from scail_model.doctor.forwards import Forwards
from scail_model.doctor.inputs import SIGMA, Size, random_inputs
from scail_model.doctor.layers import traced
from scail_model.doctor.machine import driver_version
from scail_model.doctor.modes import MODES, SIZES, Running, estimates, fitting
from scail_model.doctor.report import Host, Report
from scail_model.headless.attention import choose
from scail_model.kernels import sparse_attention
from scail_model.kernels.linears import QuantizingInt8
from scail_model.kernels.precision import EIGHT_BIT, EXACT, int8_linears
from scail_model.kernels.sparse_attention import RUN
from scail_model.preflight.budget import Machine, token_count, token_seconds
from scail_model.sparse import run as sparse_run
from scail_model.sparse.settings import KEYS, SparseSettings
from scail_model.transformer import SCAIL2Transformer

SMALLEST = SIZES[-1]
CPU = Machine(0, 0, 2**34, None)
GIB = 2**30


def network(precision: str = EXACT, attention=sdpa, weights=None) -> SCAIL2Transformer:
    linears = QuantizingInt8() if precision != EXACT else None
    model = SCAIL2Transformer(golden.TINY, attention=attention, linears=linears)
    model.load_state_dict(golden.tiny_weights() if weights is None else weights)
    model.requires_grad_(False)
    if linears is not None:
        linears.quantize(model, int8_linears(golden.TINY.num_layers))
    return model


class Subject:
    """The golden network. build: makes that of a precision; whatever it raises, the doctor gets."""

    name, config, device, in_chunks, held_bytes = "tiny.safetensors", golden.TINY, torch.device("cpu"), False, 0

    def __init__(self, build: Callable[[str], SCAIL2Transformer] = network, machine: Machine = CPU) -> None:
        self.build, self.machine = build, machine

    def run(self, mode, inputs, use):
        if mode.sparse:
            raise ValueError("there is no sparse attention")
        model, arguments = self.build(mode.precision), inputs.arguments(self.device)
        use(Running(model, "sdpa", "as asked", "float32", False, lambda run: model(**arguments)))


def measured(subject: Subject | None = None) -> dict:
    found = Forwards(subject or Subject(), lambda text: None)
    with torch.inference_mode():
        found.measure()
    return found.values()


def mode(found: dict, name: str) -> dict:
    return next(each for each in found["modes"] if each["mode"] == name)


def relative(x, exact) -> float:
    return float(torch.linalg.vector_norm(x - exact) / torch.linalg.vector_norm(exact))


@pytest.fixture(scope="module")
def found():
    return measured()


@pytest.fixture(scope="module")
def noted():
    """The same forwards by hand: velocity, all rows after each block, and the keys of each block."""
    arguments, runs = random_inputs(SMALLEST, golden.TINY).arguments(torch.device("cpu")), {}
    for precision in (EXACT, EIGHT_BIT):
        streams, keys = [], []

        def attention(q, k, v, heads, transformer_options=None, keys=keys):
            keys.append(k)
            return sdpa(q, k, v, heads)

        model = network(precision, attention)
        for block in model.blocks:
            block.register_forward_hook(lambda _, __, output, streams=streams: streams.append(output.clone()))
        with torch.inference_mode():
            velocity = model(**arguments)
        runs[precision] = velocity, streams, [k for k in keys if k.shape[1] == SMALLEST.tokens]
    return runs


def test_difference_is_that_of_the_two_velocities(found, noted):
    expected = relative(noted[EIGHT_BIT][0], noted[EXACT][0])
    assert 1e-3 < expected < 0.1
    assert mode(found, EIGHT_BIT)["difference"] == pytest.approx(expected, rel=1e-3)
    assert mode(found, EXACT)["difference"] is None


def test_a_few_rows_tell_the_error_of_the_stream(found, noted):
    expected = [relative(ours, exact) for ours, exact in zip(noted[EIGHT_BIT][1], noted[EXACT][1], strict=True)]
    assert mode(found, EIGHT_BIT)["stream_errors"] == pytest.approx(expected, rel=0.1)


def test_size_of_keys_is_that_of_their_deviation_from_the_mean_key(found, noted):
    expected = [float((k[0] - k[0].mean(0)).square().mean().sqrt()) for k in noted[EXACT][2]]
    assert mode(found, EXACT)["key_sizes"] == pytest.approx(expected, rel=1e-3)


def test_blocks_with_large_keys_are_counted():
    weights = golden.tiny_weights()
    weights["blocks.1.self_attn.norm_k.weight"] = weights["blocks.1.self_attn.norm_k.weight"] * 4
    assert measured(Subject(lambda precision: network(precision, weights=weights)))["large_keys"] == [1]
    assert measured()["large_keys"] == []


@pytest.mark.parametrize("rows", [None, 128])
def test_error_of_attention_is_over_all_rows_in_chunks_too(rows):
    def wrong(q, k, v, heads, transformer_options=None):
        return sdpa(q, k, v, heads) * (1.1 if k.shape[1] == SMALLEST.tokens else 1)

    model = network(attention=wrong)
    model.rows_at_once = lambda tokens, options: rows
    with torch.inference_mode(), traced(model, SMALLEST.tokens, SMALLEST.video, compared=True) as trace:
        model(**random_inputs(SMALLEST, golden.TINY).arguments(torch.device("cpu")))
    assert trace.attention_errors == pytest.approx([0.1, 0.1], rel=1e-4)
    assert [len(stream) for stream in trace.stream] == [256, len(trace.stream[1])]
    assert 0 < len(trace.stream[1]) < 256  # the last block computes the video only
    assert model.blocks[0].self_attn.attention is wrong


def test_error_of_attention_that_is_exact_is_nothing(found):
    assert max(mode(found, EIGHT_BIT)["attention_errors"]) < 1e-6
    assert mode(found, EXACT)["attention_errors"] == []


def test_three_forwards_are_timed(found):
    for each in found["modes"][:2]:
        assert len(each["seconds"]) == 3
        assert each["median_seconds"] == sorted(each["seconds"])[1]


def test_a_slow_forward_is_not_repeated(monkeypatch):
    monkeypatch.setattr(forwards_module, "LONG", 0.0)
    assert [len(each["seconds"]) for each in measured()["modes"][:2]] == [1, 1]


def test_inputs_are_the_same_everywhere_and_plausible():
    first, second = (random_inputs(Size(256, 320, 9), golden.TINY) for _ in range(2))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("x", "text", "driving_masks"))
    for latents in (first.reference_latents, first.driving_latents):
        assert float(latents.std()) == pytest.approx(1, rel=1e-2)
    assert float(first.x.std()) == pytest.approx(math.hypot(SIGMA, 1 - SIGMA), rel=0.05)
    people = first.driving_masks[0, 3]  # blue, of the first frame of each four
    assert 0.1 < float(people.mean()) < 0.4
    assert not torch.equal(people[0], people[-1])


# Which size

@pytest.mark.parametrize(("machine", "held", "expected"), [
    (Machine(140 * GIB, 138 * GIB, 0, 798), 31 * GIB, Size(896, 512, 81)),
    (Machine(24 * GIB, 22 * GIB, 0, 165), 2 * GIB, Size(832, 480, 81)),  # a large forward would take too long
    (Machine(24 * GIB, 22 * GIB, 0, 165), 31 * GIB, Size(256, 256, 5)),  # tried, although it will not fit
    (Machine(8 * GIB, 7 * GIB, 0, 60), 2 * GIB, Size(832, 480, 33)),
    (CPU, 0, Size(256, 256, 5)),
])
def test_the_largest_size_that_fits_and_is_quick(machine, held, expected):
    subject = Subject(machine=machine)
    subject.config, subject.held_bytes = type(golden.TINY)(), held
    assert next(fitting(subject)) == expected


def test_a_size_that_does_not_fit_after_all_is_followed_by_a_smaller_one(monkeypatch):
    tried = []

    class Full(Subject):
        def run(self, mode, inputs, use):
            tried.append(inputs.size)
            if inputs.size != SMALLEST:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            super().run(mode, inputs, use)

    monkeypatch.setattr(forwards_module, "fitting", lambda subject: iter((Size(288, 256, 5), SMALLEST)))
    found = measured(Full())
    assert tried[:2] == [Size(288, 256, 5), SMALLEST]
    assert found["tokens"] == SMALLEST.tokens
    assert mode(found, EXACT)["state"] == "measured"


# What fails: at a size of 45 tokens, which is quick

@pytest.fixture
def tiny(monkeypatch):
    sizes = (Size(96, 96, 5),)
    monkeypatch.setattr(modes, "SIZES", sizes)
    monkeypatch.setattr(forwards_module, "SIZES", sizes)


def host(subject=None, **changes) -> Host:
    def given(at, machine):
        return subject(at, machine) if callable(subject) else subject

    parts = {"name": "a test", "versions": {}, "settings": {}, "folders": {"here": Path.cwd()},
             "device": torch.device("cpu"), "machine": lambda: CPU, "files": lambda at: [],
             "subject": given, **changes}
    return Host(**parts)


def examined(subject=None, **changes) -> Report:
    report = Report(host(subject, **changes))
    report.examine(lambda text: None)
    return report


def raising(error: BaseException):
    def function(*_, **__):
        raise error

    return function


@pytest.mark.usefixtures("tiny")
def test_all_is_well():
    report = examined(Subject())
    assert report.wrong == []
    assert report.ok
    assert "Nothing is wrong." in report.as_text()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("changes", "wrong"), [
    ({"machine": raising(RuntimeError("the driver is too old\nand more"))},
     "machine could not be examined: RuntimeError: the driver is too old"),
    ({"files": raising(PermissionError("no"))}, "files could not be examined: PermissionError: no"),
    ({"subject": raising(ValueError("The model is Flux, not SCAIL-2: connect another."))},
     "forwards could not be examined: The model is Flux, not SCAIL-2: connect another."),
])
def test_a_part_that_fails_is_one_line_and_the_rest_goes_on(changes, wrong):
    report = examined(**{"subject": Subject(), **changes})
    assert report.wrong == [wrong]
    assert report.values()["complete"]
    assert ("No forward was measured: what is wrong is said above." in report.as_text()) == wrong.startswith("forwards")
    assert report.values()["versions"]["torch"] == torch.__version__


def broken(precision: str, error: BaseException, *, while_it_runs: bool = False):
    """Makes networks of which that of one precision fails."""
    def build(asked):
        if asked == precision and not while_it_runs:
            raise error
        model = network(asked)
        if asked == precision:
            model.forward = raising(error)
        return model

    return build


@pytest.mark.usefixtures("tiny")
def test_a_mode_that_does_not_run_here_is_not_wrong():
    report = examined(Subject(broken(EIGHT_BIT, ValueError("this file is in 8 bits already"))))
    assert report.ok
    assert mode(report.values()["forwards"], EIGHT_BIT) == {
        "mode": EIGHT_BIT, "state": "not here", "reason": "this file is in 8 bits already"}
    assert "not here: this file is in 8 bits already" in report.as_text()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("while_it_runs", [False, True])
@pytest.mark.parametrize("precision", [EXACT, EIGHT_BIT])
def test_a_mode_that_fails_is_one_line_and_the_others_are_measured(precision, while_it_runs):
    report = examined(Subject(broken(precision, RuntimeError("a kernel\nfailed"), while_it_runs=while_it_runs)))
    assert report.wrong == [f"{precision} failed: RuntimeError: a kernel"]
    other = mode(report.values()["forwards"], EXACT if precision == EIGHT_BIT else EIGHT_BIT)
    assert other["state"] == "measured"
    assert other["difference"] is None
    assert report.as_text()


@pytest.mark.usefixtures("tiny")
def test_too_little_memory_for_exact_is_not_wrong_and_the_others_are_tried():
    report = examined(Subject(broken(EXACT, torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to ..."))))
    assert report.ok
    found = report.values()["forwards"]
    assert mode(found, EXACT) == {"mode": EXACT, "state": "not here", "reason": (
        "there is too little memory (OutOfMemoryError: CUDA out of memory. Tried to ...)")}
    assert mode(found, EIGHT_BIT)["state"] == "measured"
    assert mode(found, EIGHT_BIT)["difference"] is None


@pytest.mark.usefixtures("tiny")
def test_nan_is_wrong():
    weights = golden.tiny_weights()
    weights["head.head.bias"] = weights["head.head.bias"] * math.nan
    report = examined(Subject(lambda precision: network(precision, weights=weights)))
    assert report.wrong[0] == "exact gives NaN or infinite numbers"
    assert json.loads(report.as_json(), parse_constant=pytest.fail)  # NaN is no JSON
    assert "NaN or infinite numbers" in report.as_text()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("after", [1, 4, 7, 9, 10, 13, 18, 22, 26])
def test_stopped_at_any_moment_it_tells_what_is_there(after):
    """Ctrl-C comes as KeyboardInterrupt, a cancelled node as an exception of ComfyUI's."""
    count = 0

    def at(text):
        nonlocal count
        count += 1
        if count == after:
            raise KeyboardInterrupt

    report = Report(host(Subject()))
    with pytest.raises(KeyboardInterrupt):
        report.examine(at)
    assert not report.values()["complete"]
    assert "stopped before its end" in report.as_text()


@pytest.mark.usefixtures("tiny")
def test_without_weights_everything_else_is_told():
    report = examined()
    assert report.ok
    assert report.values()["forwards"] is None
    assert "No forward was measured: no weights are chosen, or none are there." in report.as_text()


@pytest.mark.usefixtures("tiny")
def test_without_a_gpu_it_says_that_times_mean_little():
    report = examined(Subject())
    assert report.values()["card"] is None
    assert report.values()["link"] is None
    assert "times of a CPU mean little" in report.as_text()


# Sparse attention: at a size of 1,134 tokens, from which on there is something to leave out

LARGER = Size(288, 288, 5)


class SparseSubject(Subject):
    """Only of the mode that leaves part of attention out and has exact linears."""

    def run(self, mode, inputs, use):
        if mode.name not in (EXACT, "exact, sparse"):
            raise ValueError("not asked for")
        attention = choose(mode.attention(self.device), self.device, EXACT)
        model, arguments = network(attention=attention), inputs.arguments(self.device)
        use(Running(model, attention.name, attention.reason, "float32", attention.sparse,
                    lambda run: model(**arguments, transformer_options={} if run is None else {RUN: run})))


@pytest.fixture(scope="module")
def sparse():
    """What the doctor says, without a limit of the error; and queries, keys and values of the first layer."""
    seen = []

    def attention(q, k, v, heads, transformer_options=None):
        if k.shape[1] == LARGER.tokens:
            seen.append((q, k, v))
        return sdpa(q, k, v, heads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forwards_module, "fitting", lambda subject: iter([LARGER]))
        patch.setattr(forwards_module, "SparseSettings", lambda: SparseSettings(0.2, error_limit=0))
        patch.setattr(sparse_run, "ROWS", 512)  # of 1,134
        found = mode(measured(SparseSubject()), "exact, sparse")
    with torch.inference_mode():
        network(attention=attention)(**random_inputs(LARGER, golden.TINY).arguments(torch.device("cpu")))
    return found, seen[0]


def test_true_error_of_sparse_attention_is_over_all_rows(sparse):
    found, (q, k, v) = sparse
    out, computed = sparse_attention.prepare_kv(k, v, golden.TINY.num_heads)(q, 0.2)
    expected = relative(out, sdpa(q, k, v, golden.TINY.num_heads))
    assert expected > 0.01
    assert found["attention_errors"][0] == pytest.approx(expected, rel=1e-3)
    assert found["densities"][0] == pytest.approx(float(computed.double().mean()), rel=1e-3)


def test_estimated_error_is_compared_with_the_true_one(sparse):
    found, _ = sparse
    assert found["estimated_errors"] == pytest.approx(found["attention_errors"], rel=0.2)
    assert found["estimated_errors"] != found["attention_errors"]
    assert found["near"] == [2, 2]
    assert 0 < found["stream_errors"][0] < found["attention_errors"][0]


def test_timed_forwards_begin_from_what_the_first_has_found(monkeypatch):
    """They measure an eighth of the layers, as the steps of a video on the average, and decide nothing anew."""
    begun = []

    class Counted(SparseSubject):
        def run(self, mode, inputs, use):
            def counted(running):
                forward = running.forward
                use(dataclasses.replace(running, forward=lambda run: begun.append(run) or forward(run)))

            super().run(mode, inputs, counted)

    monkeypatch.setattr(forwards_module, "fitting", lambda subject: iter([LARGER]))
    measured(Counted())
    first, *later = begun[4:]
    assert begun[:4] == [None] * 4
    assert first.given is None
    assert [run.given is not None for run in later] == [True] * 3
    assert all(run.calibration() == first.calibration() for run in later)


def test_time_of_sparse_attention_is_estimated_for_what_it_computes():
    """At a small size all of it, at a large one as many keys as always."""
    small, large = (token_count(size.width, size.height, size.frames, 0) for size in (SIZES[-1], SIZES[0]))
    subject = Subject(machine=dataclasses.replace(CPU, matmul_tflops=100.0))
    (exact, _), (sparse, _) = (estimates(subject, SIZES[-1], mode) for mode in (MODES[0], MODES[-1]))
    assert small < KEYS
    assert sparse == exact
    (exact, _), (sparse, _) = (estimates(subject, SIZES[0], mode) for mode in (MODES[0], MODES[-1]))
    whole, nothing = (token_seconds(golden.TINY, large, 100.0, density=density) for density in (1.0, 0.0))
    assert exact == whole
    assert nothing < sparse < whole


@pytest.mark.parametrize(("text", "version"), [
    ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
     "GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)\n", "535.129.03"),
    ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n", "580.65.06"),
    ("NVRM version: something else\nGCC version:  gcc version 11.4.0 \n", None),
])
def test_driver_is_read_from_what_its_module_tells(text, version):
    assert driver_version(text) == version
