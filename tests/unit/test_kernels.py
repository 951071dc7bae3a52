"""Every operation of every backend against an independent calculation.

By itself this file tests plain PyTorch. With TRITON_INTERPRET=1 in the environment it tests the Triton kernels, in
Triton's interpreter on the CPU. `test_backends.py` runs it so in another process, because Triton reads the variable
when it is imported.
"""

import os
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F

from scail_model.kernels import fp8

BACKEND = "triton" if os.environ.get("TRITON_INTERPRET") == "1" else "eager"
FLOATS = (torch.float32, torch.bfloat16)
DIMS = (2, 5, 384)  # not a power of two; three heads; two items with modulations of their own


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(params=[BACKEND])
def backend(request):
    """A backend's module for a group of operations, by the group's name."""
    return lambda group: import_module(f"scail_model.kernels.{request.param}.{group}")


# elementwise

def affine(lead: int):
    return torch.randn(2, lead, 1, DIMS[-1]).unbind()


def exact_norm(x, weight, bias):
    """LayerNorm in float64."""
    return F.layer_norm(x.double(), x.shape[-1:], eps=1e-6) * weight.double() + bias.double()


def assert_close(result, exact, dtype):
    """Equal but for the rounding of float32 and of the result."""
    assert result.dtype == dtype
    rtol = 2e-5 if dtype == torch.float32 else 1.6e-2
    torch.testing.assert_close(result.double(), exact.to(dtype).double(), rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("lead", [1, 2])
@pytest.mark.parametrize("dtype", FLOATS)
def test_layer_norm(backend, lead, dtype):
    x, (weight, bias) = torch.randn(DIMS), affine(lead)
    assert_close(backend("elementwise").layer_norm(x, weight, bias, 1e-6, dtype), exact_norm(x, weight, bias), dtype)


@pytest.mark.parametrize("rotated", [0, 4, 5])
@pytest.mark.parametrize("dtype", FLOATS)
def test_rms_norm(backend, rotated, dtype):
    x, weight = torch.randn(DIMS)[:, -rotated:].to(dtype), torch.randn(DIMS[-1])
    exact = F.rms_norm(x.double(), x.shape[-1:], weight.double(), 1e-6)
    rotation = None
    if rotated:
        cos, sin = rotation = torch.randn(2, rotated, 64).unbind()
        pairs = torch.view_as_complex(exact.unflatten(-1, (-1, 64, 2)))  # [B, L, heads, 64]
        exact = torch.view_as_real(pairs * torch.complex(cos, sin).to(torch.complex128)[:, None]).flatten(-3)
    assert_close(backend("elementwise").rms_norm(x.clone(), weight, 1e-6, rotation), exact, dtype)


@pytest.mark.parametrize("gated", [False, True])
def test_add_gated(backend, gated):
    x, y, gate = torch.randn(DIMS), torch.randn(DIMS).bfloat16(), torch.randn(DIMS[0], 1, DIMS[-1]) if gated else None
    exact = x.double() + (y.double() * gate.double() if gated else y.double())
    result = backend("elementwise").add_gated_(x, y, gate)
    assert_close(result, exact, torch.float32)
    assert result.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("lead", [1, 2])
def test_add_gated_norm(backend, gated, lead):
    x, y, gate = torch.randn(DIMS), torch.randn(DIMS).bfloat16(), torch.randn(DIMS[0], 1, DIMS[-1]) if gated else None
    weight, bias = affine(lead)
    exact = x.double() + (y.double() * gate.double() if gated else y.double())
    total, norm = backend("elementwise").add_gated_norm_(x, y, gate, weight, bias, 1e-6, torch.bfloat16)
    assert_close(total, exact, torch.float32)
    assert_close(norm, exact_norm(exact, weight, bias), torch.bfloat16)
    assert total.data_ptr() == x.data_ptr()


def steered(positive, negative, strength, tau=2.5, alpha=0.25):
    """Normalised attention guidance in float64, as the paper writes it."""
    positive, negative = positive.double(), negative.double()
    away = positive + (strength - 1) * (positive - negative)
    ratio = away.abs().sum(-1, keepdim=True) / positive.abs().sum(-1, keepdim=True)
    away = away * torch.minimum(ratio, torch.full_like(ratio, tau)) / ratio
    return (1 - alpha) * positive + alpha * away


@pytest.mark.parametrize("strength", [1.5, 11.0, 100.0])  # held to the norm in no row, in some, and in all
@pytest.mark.parametrize("dtype", FLOATS)
def test_nag_mix(backend, dtype, strength):
    positive = torch.randn(DIMS).to(dtype)
    near = torch.tensor([0.05, 0.2, 0.5, 1, 2])[:, None]  # rows whose two texts are more and more apart
    negative = (positive + near * torch.randn(DIMS)).to(dtype)
    exact = steered(positive, negative, strength)
    result = backend("elementwise").nag_mix(positive.clone(), negative, strength)
    assert_close(result, exact, dtype)


def test_nag_mix_of_nothing(backend):
    """Rows of zeros stay finite, and equal texts steer nowhere."""
    x, zeros = torch.randn(DIMS), torch.zeros(DIMS)
    mix = backend("elementwise").nag_mix
    assert torch.equal(mix(zeros.clone(), zeros, 11.0), zeros)
    assert torch.equal(mix(zeros.clone(), x, 11.0), zeros)
    torch.testing.assert_close(mix(x.clone(), x, 11.0), x)


# int8

def assert_stands_for(values, scale, zero, exact):
    """Whether values and scale mean `exact`, to half a step, and use the whole range."""
    assert values.dtype == torch.int8
    meant = values.double() * scale.double()[..., None] + (0 if zero is None else zero.double()[..., None])
    assert torch.all((meant - exact.double()).abs() <= 0.505 * scale[..., None])
    assert torch.all(values.int().abs().amax(-1) == 127)


def test_quantize(backend):
    x = torch.randn(DIMS) * torch.logspace(-3, 3, DIMS[1])[:, None]
    assert_stands_for(*backend("int8").quantize(x), None, x)
    assert torch.all(backend("int8").quantize(torch.zeros(DIMS))[0] == 0)


@pytest.mark.parametrize("lead", [1, 2])
def test_layer_norm_in_int8(backend, lead):
    x, (weight, bias) = torch.randn(DIMS), affine(lead)
    assert_stands_for(*backend("int8").layer_norm(x, weight, bias, 1e-6), None, exact_norm(x, weight, bias))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("lead", [1, 2])
def test_add_gated_norm_in_int8(backend, gated, lead):
    x, y, gate = torch.randn(DIMS), torch.randn(DIMS).bfloat16(), torch.randn(DIMS[0], 1, DIMS[-1]) if gated else None
    weight, bias = affine(lead)
    exact = x.double() + (y.double() * gate.double() if gated else y.double())
    total, values, scale = backend("int8").add_gated_norm_(x, y, gate, weight, bias, 1e-6)
    assert_close(total, exact, torch.float32)
    assert total.data_ptr() == x.data_ptr()
    assert_stands_for(values, scale, None, exact_norm(exact, weight, bias))


def test_gelu_in_int8(backend):
    x = 3 * torch.randn(1, 5, 4096)
    values, scale, zero = backend("int8").gelu(x)
    assert_stands_for(values, scale, zero, F.gelu(x.double(), approximate="tanh"))
    assert values.min() == -127
    assert values.max() == 127


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_linear_in_int8(backend, dtype, biased, shifted):
    """Of 10 tokens and 300 outputs, which fill no tile."""
    values, weight = (torch.randint(-127, 128, shape, dtype=torch.int8) for shape in (DIMS, (300, DIMS[-1])))
    scale, weight_scale, bias = torch.rand(DIMS[:2]), torch.rand(300), torch.randn(300) if biased else None
    zero = torch.randn(DIMS[:2]) if shifted else None
    x = values.double() * scale.double()[..., None] + (zero.double()[..., None] if shifted else 0)
    exact = x @ (weight.double() * weight_scale.double()[:, None]).T + (bias.double() if biased else 0)
    result = backend("int8").linear(values, scale, zero, weight, weight_scale, bias, dtype)
    assert result.dtype == dtype
    # the interpreter truncates to bfloat16
    assert (result.double() - exact).norm() / exact.norm() < (1e-6 if dtype == torch.float32 else 5e-3)


# float8

def heads(x):
    """[L, 256] -> float64 [2, L, 128]."""
    return x.double().unflatten(-1, (2, -1)).transpose(0, 1)


def hadamard():
    return torch.tensor([[(-1.0) ** bin(i & j).count("1") for i in range(128)] for j in range(128)]) * 128**-0.5


def test_stats(backend):
    x = torch.randn(700, 600).bfloat16() + 3  # strips and spans that are not full
    stats = fp8.Stats(*backend("fp8").stats(x))
    torch.testing.assert_close(stats.mean, x.float().mean(0), rtol=1e-5, atol=1e-5)
    assert torch.equal(stats.largest, x.float().abs().amax(0))
    torch.testing.assert_close(stats.square, x.float().square().mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(stats.size().double(), (x.double() - x.double().mean(0)).square().mean().sqrt(),
                               rtol=1e-5, atol=1e-5)


def test_stats_of_a_column_do_not_depend_on_how_many_there_are(backend):
    x = torch.randn(1700, 640).bfloat16() + 3
    run = backend("fp8").stats
    parts = [torch.stack(run(x[:, start : start + 128].contiguous())) for start in range(0, 640, 128)]
    assert torch.equal(torch.cat(parts, -1), torch.stack(run(x)))


@pytest.mark.parametrize("operation", ["quantize", "quantize_hadamard"])
@pytest.mark.parametrize("centred", [False, True])
def test_quantize_to_float8(backend, operation, centred):
    x, mean, scale = torch.randn(200, 256).bfloat16(), torch.randn(256), torch.tensor(0.1)
    exact = x.float() - mean if centred else x.float()
    if operation == "quantize_hadamard":
        exact = (exact.unflatten(-1, (2, 128)) @ hadamard()).flatten(1)
    run = getattr(backend("fp8"), operation)
    if operation == "quantize" and not centred:
        mean.zero_()
    result = run(x, mean if centred or operation == "quantize" else None, scale)
    assert result.dtype == torch.float8_e4m3fn
    # three bits after the first; the interpreter truncates them
    assert 0.01 < (result.float() * scale - exact).norm() / exact.norm() < 0.1
    x[0] = 1e4
    assert torch.isfinite(run(x, mean, scale).float()).all()


@pytest.mark.parametrize("more", [0, 40])
def test_merge_tail(backend, more):
    """Attention to the first 256 keys, and the operation that adds the last 40."""
    q, k, v = (torch.randn(n, 256).to(torch.float8_e4m3fn) for n in (70, 256 + more, 256 + more))
    scores, values = heads(q) @ heads(k).transpose(-1, -2) * 128**-0.5, heads(v) / 4
    main = (scores[..., :256].softmax(-1) @ values[:, :256]).transpose(0, 1).flatten(1)
    sums, mean = scores[..., :256].logsumexp(-1), torch.randn(256)
    two, quarter, unit = torch.tensor([2.0, 0.25, 128**-0.5]).unbind()
    result = backend("fp8").merge_tail(main.float() / 2, sums.float(), two, q, k[256:], v[256:], unit, quarter, mean, 2,
                                       torch.float32)
    exact = (scores.softmax(-1) @ values).transpose(0, 1).flatten(1) + mean
    torch.testing.assert_close(result.double(), exact, rtol=0, atol=1e-3)


# block-sparse attention

@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [16, 128])
def test_pool(backend, dtype, size):
    x = torch.randn(2, 300, 384).to(dtype)
    means = [x[:, first : first + size].double().mean(1).unflatten(1, (3, 128)) for first in range(0, 300, size)]
    assert_close(backend("sparse").pool(x, 3, size), torch.stack(means, 2), dtype)


@pytest.mark.parametrize("queries_in_block", [128, 256])
def test_estimate(backend, queries_in_block):
    """As attention to every key of a piece as if it were the piece's mean; the root mean square of a block's pieces."""
    queries, keys = torch.randn(2, 3, 19, 128) * 3, torch.randn(2, 3, 21, 128) * 3  # the last piece has 13 keys
    of_key = torch.arange(333) // 16
    shares = (queries.double() @ keys.double()[:, :, of_key].transpose(-1, -2) * 128**-0.5).softmax(-1)
    blocks = torch.stack([shares[..., first : first + 128].sum(-1) for first in range(0, 333, 128)], -1)
    pieces = queries_in_block // 16
    exact = torch.stack([part.square().mean(2).sqrt() for part in blocks.split(pieces, 2)], 2)
    result = backend("sparse").estimate(queries, keys, 333, 16, (pieces, 8))
    torch.testing.assert_close(result.double(), exact, rtol=1e-3, atol=1e-5)


def test_choose(backend):
    weights, least = torch.rand(2, 3, 4, 11), torch.rand(2, 3, 4)
    least = torch.minimum(least, weights.amax(-1))
    kept, counts, blocks = backend("sparse").choose(weights, least)
    for row in ((item, head, row) for item in range(2) for head in range(3) for row in range(4)):
        expected = [number for number, value in enumerate(weights[row].tolist()) if value >= least[row]]
        assert kept[row].nonzero().flatten().tolist() == expected
        assert blocks[row][: counts[row]].tolist() == expected


@pytest.mark.parametrize("queries_in_block", [128, 256])
def test_add_rest(backend, queries_in_block):
    """Attention to some blocks, and the operation that adds the others by their means."""
    q, k, v = torch.randn(2, 300, 256), torch.randn(2, 333, 256) + 0.3, torch.randn(2, 333, 256)
    rows = -(-300 // queries_in_block)
    kept = (torch.rand(2, 2, rows, 3) < 0.5).to(torch.uint8)
    kept[..., 1] = 1
    of_query, of_key = torch.arange(300) // queries_in_block, torch.arange(333) // 128
    split = [x.double().unflatten(-1, (2, 128)).transpose(1, 2) for x in (q, k, v)]
    means = [torch.stack([x[:, :, of_key == block].mean(2) for block in range(3)], 2) for x in split[1:]]
    taken = kept[:, :, of_query][..., of_key].bool()
    scores = torch.where(taken, split[0] @ split[1].transpose(-1, -2),
                         split[0] @ means[0][:, :, of_key].transpose(-1, -2))
    exact = (scores * 128**-0.5).softmax(-1)
    exact = torch.where(taken, exact, 0) @ split[2] + torch.where(taken, 0, exact) @ means[1][:, :, of_key]
    some = (split[0] @ split[1].transpose(-1, -2) * 128**-0.5).masked_fill(~taken, -torch.inf)
    out = (some.softmax(-1) @ split[2]).transpose(1, 2).flatten(2).float()
    logarithms = torch.tensor([128.0, 128.0, 77.0]).log()
    result = backend("sparse").add_rest_(out, some.logsumexp(-1).float(), q, *(mean.float() for mean in means),
                                         logarithms, kept, queries_in_block)
    assert result is out
    torch.testing.assert_close(result.double(), exact.transpose(1, 2).flatten(2), rtol=0, atol=1e-4)


# causal_video: between the convolutions of a video VAE

VIDEO = (1, 32, 2, 6, 10)


@pytest.fixture
def causal_video(backend, monkeypatch):
    module = backend("causal_video")
    if BACKEND == "triton":
        monkeypatch.setattr(module, "libdevice", import_module("triton.language"))  # the interpreter has no libdevice
    return module


def side_by_side(x):
    """As the Triton kernels want it: the channels of a pixel side by side."""
    return x.clone(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("frames", [1, 2])
def test_norm_silu(causal_video, frames, biased):
    x, gamma, bias = torch.randn(VIDEO)[:, :, :frames].half(), torch.rand(32).half() + 0.5, torch.randn(32).half()
    before = torch.randn(VIDEO).half()
    out, after = causal_video.norm_silu(side_by_side(x), bias if biased else None, gamma, 32**0.5,
                                        side_by_side(before))
    summed = x.double() + bias.double().view(-1, 1, 1, 1) * biased
    normed = summed / summed.norm(dim=1, keepdim=True) * 32**0.5 * gamma.double().view(-1, 1, 1, 1)
    assert torch.equal(out[:, :, :2], before)
    torch.testing.assert_close(out[:, :, 2:].double(), normed * normed.sigmoid(), rtol=4e-3, atol=1e-4)
    assert torch.equal(after[:, :, -frames:], out[:, :, 2:])
    if frames == 1:
        assert not after[:, :, 0].any()
    alone, _ = causal_video.norm_silu(side_by_side(x), bias if biased else None, gamma, 32**0.5, None)
    assert torch.equal(alone, out[:, :, 2:])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shortcut", [None, "", "biased"])
def test_added_in_a_vae(causal_video, shortcut, biased):
    x, y, bias, other = torch.randn(VIDEO).half(), torch.randn(VIDEO).half(), *torch.randn(2, 32).half()
    expected = x + bias.view(-1, 1, 1, 1) if biased else x
    if shortcut is not None:
        expected = expected + (y + other.view(-1, 1, 1, 1) if shortcut else y)
    found = causal_video.add_(side_by_side(x), bias if biased else None,
                              None if shortcut is None else side_by_side(y), other if shortcut else None)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("in_time", [False, True])
def test_upsampled(causal_video, in_time):
    x, bias = torch.randn(VIDEO).half(), torch.randn(32).half()
    found = causal_video.upsampled(side_by_side(x), bias, in_time)
    channels = 16 if in_time else 32
    assert found.shape == (4 if in_time else 2, channels, 12, 20)
    summed = x + bias.view(-1, 1, 1, 1)
    for picture in range(len(found)):
        frame, half = divmod(picture, 2) if in_time else (picture, 0)
        for row, column in ((0, 0), (5, 7), (11, 19)):
            expected = summed[0, half * 16 : half * 16 + channels, frame, row // 2, column // 2]
            assert torch.equal(found[picture, :, row, column], expected)


if BACKEND == "triton":
    import triton
    import triton.language as tl

    from scail_model.kernels.triton.causal_video import sum_of_sixteen

    @triton.jit
    def sixteen_summed(values, out):
        row = tl.arange(0, 64)
        sums = tl.load(values + row[:, None] * 16 + tl.arange(0, 16)[None, :])
        tl.store(out + row, sum_of_sixteen(sums, 64))

    def test_sums_in_the_order_of_pytorchs_kernel():
        """Four by four, as blocks of four threads with four sums each; seen on numbers whose sum depends on it."""
        values, out = torch.randn(64, 16) * 2.0 ** torch.randint(-12, 13, (64, 16)), torch.empty(64)
        sixteen_summed[(1,)](values, out)
        first, second, third, fourth = values.view(64, 4, 4).unbind(1)
        threads = ((first + second) + third) + fourth
        assert torch.equal(out, (threads[:, 0] + threads[:, 2]) + (threads[:, 1] + threads[:, 3]))
        assert not torch.equal(out, values.sum(1))
