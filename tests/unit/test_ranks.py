"""Attention whose heads lie on several ranks, threads that compute at the same time, has the bits that it has on one:
in 8 bits, sparse, and while layers are over the limit of their error."""

import threading

import pytest
import torch
from test_forward_together import inputs
from test_forward_together import together as together_in
from test_sparse_attention import tokens

from scail_model.attention import sdpa
from scail_model.config import TransformerConfig
from scail_model.gpus.attention import Across
from scail_model.gpus.rows import rows_of, size, within
from scail_model.gpus.team import Team
from scail_model.kernels import attention_choice, cudnn_attention, fp8_attention, sparse_attention
from scail_model.kernels.attention_choice import HostAttention
from scail_model.kernels.backends import once_a_device, one_at_a_time
from scail_model.kernels.in_parts import InParts
from scail_model.kernels.precision import EIGHT_BIT, FAST
from scail_model.kernels.ranks import RANK, of_all_heads
from scail_model.kernels.sparse_attention import PROMPTS, RUN
from scail_model.sparse.calibration import Calibration
from scail_model.sparse.run import SparseRun
from scail_model.sparse.settings import SparseSettings
from scail_model.transformer import SCAIL2Transformer

CPU, HEADS = torch.device("cpu"), 4
HOST = HostAttention("pytorch", "pytorch", sdpa)


def together(count, work):
    """What each rank's thread returns."""
    return Team([CPU] * count).run(work)


def attended(backend, q, k, v, count, options=None, heads=HEADS):
    """Attention with the heads split over so many ranks: [B, L, heads * 128]."""
    share = q.shape[-1] // count

    def work(rank):
        own = slice(rank.number * share, (rank.number + 1) * share)
        mine = dict(options or {})
        if RUN in mine:
            mine[RUN] = mine[RUN].of_rank(rank.number)
            mine[RUN].begin(mine["timestep"], mine)
        if count > 1:
            mine[RANK] = rank
        attend = backend.prepare_kv(k[..., own].contiguous(), v[..., own].contiguous(), heads // count, mine)
        return attend(q[..., own].contiguous())

    with torch.no_grad():
        return torch.cat(together(count, work), -1)


def test_what_ranks_gather_is_in_the_order_of_the_heads():
    x = torch.arange(24).view(2, 12)
    found = together(4, lambda rank: of_all_heads(x[:, 3 * rank.number :][:, :3], {RANK: rank}))
    assert all(torch.equal(each, x) for each in found)
    assert of_all_heads(x, {}) is of_all_heads(x, None) is x


@pytest.fixture
def in_8_bits(monkeypatch):
    """Attention in float8, its definition, for few keys and on any device."""
    monkeypatch.setattr(attention_choice, "_FEW_KEYS", 100)
    monkeypatch.setattr(attention_choice, "_fits", lambda q, heads: True)
    return attention_choice._build("cudnn_fp8", CPU, "", HOST)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_in_8_bits(in_8_bits, count, dtype):
    q, k, v = (x.to(dtype) * 0.6 for x in tokens(700, HEADS, batch=2))
    loud = torch.linspace(0.5, 1.5, HEADS).repeat_interleave(128).to(dtype)  # every head has another scale of its own
    q, k, v = q * loud, k * loud.flip(0), v * loud
    alone = attended(in_8_bits, q, k, v, 1)
    assert not torch.equal(alone, sdpa(q, k, v, HEADS))
    assert torch.equal(attended(in_8_bits, q, k, v, count), alone)


@pytest.mark.parametrize("count", [2, 4])
def test_keys_are_too_large_for_all_ranks_or_for_none(in_8_bits, count):
    """One head has keys that would be refused by themselves, all heads together have not, or have too."""
    q, k, v = torch.randn(3, 1, 300, HEADS * 128, generator=torch.Generator().manual_seed(0))
    for factor, exact in ((2.0, False), (4.0, True)):
        k[..., :128] = factor * k[..., 128:256]
        found = attended(in_8_bits, q, k, v, count)
        assert torch.equal(found, attended(in_8_bits, q, k, v, 1))
        assert torch.equal(found, sdpa(q, k, v, HEADS)) == exact
        assert (fp8_attention.prepare_kv(k[..., :128], v[..., :128], 1) is None), "by itself it is refused"


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("limit", [0.0, 1.1, 0.5])  # one of the layers takes twice as much, or both take all
def test_sparse_attention(count, limit):
    """Over three steps, with layers that reach the limit: results, errors and what later takes begin with."""
    backend = attention_choice.choose("automatic", CPU, FAST, HOST)
    parts = torch.tensor([0.2, 1.0, 0.5, 1.2]).repeat_interleave(128)  # heads differ in how much they can leave out
    layers = [[x * factor for x, factor in zip(tokens(1200, HEADS, seed=seed), (parts, parts, 1), strict=True)]
              for seed in range(2)]
    found = {}
    for ranks in (1, count):
        run = SparseRun(SparseSettings(0.2, limit))
        outs = [attended(backend, *layers[layer], ranks, {RUN: run, "block_index": layer, "timestep": 1000.0 - step})
                for step in range(3) for layer in range(2)]
        found[ranks] = outs, run.errors, run.calibration()
        twins = [run.of_rank(number) for number in range(ranks)]
        assert all(twin.errors == run.errors and twin.calibration() == run.calibration() for twin in twins)
    alone, several = found[1], found[count]
    assert alone[1:] == several[1:]
    assert all(torch.equal(*pair) for pair in zip(alone[0], several[0], strict=True))
    assert (max(alone[2].densities.values()) > 0.35) == bool(limit), "or the limit is not at work"


def test_sparse_attention_on_another_number_of_ranks_in_each_step(monkeypatch):
    """As where guidance is only for some steps: each prompt on GPUs of its own in these, one on all GPUs in others."""
    monkeypatch.setattr(sparse_attention, "FEWEST_KEYS", 0)
    torch.manual_seed(0)
    network = SCAIL2Transformer(TransformerConfig(dim=HEADS * 128, num_heads=HEADS, ffn_dim=256, num_layers=2,
                                                  text_dim=256),
                                attention=attention_choice.choose("automatic", CPU, FAST, HOST))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.3)
    (x, timestep, *texts), conditions = inputs(additional=2)
    found = []
    for counts in ((1, 1, 1, 1), (1, 2, 4, 2)):
        run, outs = SparseRun(SparseSettings(0.25, 0.2)), []
        for step, count in enumerate(counts):
            given, options = [x, timestep - step, *texts], {RUN: run, PROMPTS: [0]}
            with torch.no_grad():
                if count == 1:
                    outs.append(network(*given, **conditions, transformer_options=options))
                    network(*given, **conditions, transformer_options={RUN: run, PROMPTS: [1]})
                else:
                    outs.append(together_in(network, count, given, conditions, options))
        found.append((outs, run._prompts[0].sums, run.calibration().densities))
    (alone, *facts), (several, *others) = found
    assert facts == others
    assert all(torch.equal(*pair) for pair in zip(alone, several, strict=True))


@pytest.mark.parametrize("rows", [None, 128])
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", ["8 bits", "sparse"])
def test_the_whole_network(in_8_bits, monkeypatch, kind, count, rows):
    """Three steps on one device and on several, all rows at once and in chunks."""
    monkeypatch.setattr(sparse_attention, "FEWEST_KEYS", 0)
    monkeypatch.setattr(attention_choice, "_FEW_KEYS", 600)  # more than those of the text, fewer than the tokens
    torch.manual_seed(0)
    backend = in_8_bits if kind == "8 bits" else attention_choice.choose("automatic", CPU, FAST, HOST)
    network = SCAIL2Transformer(TransformerConfig(dim=HEADS * 128, num_heads=HEADS, ffn_dim=256, num_layers=2,
                                                  text_dim=256), attention=backend)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.3)
    monkeypatch.setattr(network, "rows_at_once", lambda *_: rows)
    (x, timestep, *texts), conditions = inputs(additional=2)
    found = []
    for devices in (1, count):
        run, outs = SparseRun(SparseSettings(0.25, 0.2)), []
        for step in range(3):
            options = {RUN: run, PROMPTS: [0]} if kind == "sparse" else {}
            given = [x, timestep - step, *texts]
            with torch.no_grad():
                outs.append(network(*given, **conditions, transformer_options=options) if devices == 1 else
                            together_in(network, devices, given, conditions, options))
        found.append((outs, run.errors, run.calibration()))
    (alone, *facts), (several, *others) = found
    assert facts == others
    assert all(torch.equal(*pair) for pair in zip(alone, several, strict=True))
    with torch.no_grad():
        network.blocks[0].self_attn.attention = network.blocks[1].self_attn.attention = sdpa
        assert not torch.equal(alone[0], network(x, timestep, *texts, **conditions)), "or it was exact"
    if kind == "sparse":
        assert {error.layer for error in facts[0]} == {0, 1}


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("video", [slice(0, 1500), slice(300, 1400)])
def test_the_own_rows_come_last_so_that_the_results_of_others_travel_meanwhile(video, count):
    """Also where the rows that are asked for begin within a block of queries."""
    backend = attention_choice.choose("automatic", CPU, FAST, HOST)
    q, k, v = tokens(1500, HEADS)
    parts = {}

    def options():
        run = SparseRun(SparseSettings(0.2, 0.0), Calibration(1500, {1: 0.2}))
        run.begin(1000.0)
        return {RUN: run, "block_index": 1}  # which is not measured in this step

    def work(rank):
        across, mine = Across(rank, 1500, video), {**options(), RANK: rank}
        across.video_only()
        own = across.own

        def prepare(keys, values):
            attend = backend.prepare_kv(keys, values, HEADS // count, mine)

            def begin(queries):
                rows, parts[rank.number] = attend.begin(queries), []
                return lambda part: (parts[rank.number].append(part), rows(part))[1]

            return InParts(begin)

        project = [lambda: k[:, own], lambda: v[:, own], lambda: q[:, within(own, video)]]
        return across.attended(project, prepare, of_all=False, together=True)

    with torch.no_grad():
        expected = backend.prepare_kv(k, v, HEADS, options())(q[:, video])
        assert torch.equal(torch.cat(together(count, work), dim=1), expected)
    assert all(part.start % 256 == 0 for computed in parts.values() for part in computed)
    *others, last = parts[count - 1]
    own = within(rows_of(1500, count)[-1], slice(last.start + video.start, last.stop + video.start))
    assert others
    assert size(own) == size(last), "and nobody else's"


def test_prompts_in_one_batch_one_after_the_other_and_at_the_same_time():
    """Also where one is over the limit and the other is not."""
    backend = attention_choice.choose("automatic", CPU, FAST, HOST)
    positive = tokens(1200, 2, seed=1)
    negative = [x * factor for x, factor in zip(tokens(1200, 2), (0.3, 0.3, 1), strict=True)]
    both = [torch.cat(pair) for pair in zip(positive, negative, strict=True)]
    ways = {}

    def in_a_batch(run, step):
        return attended(backend, *both, 1, options(run, step, [0, 1]), heads=2)

    def options(run, step, prompts):
        return {RUN: run, "block_index": 0, "timestep": 1000.0 - step, PROMPTS: prompts}

    def one_by_one(run, step):
        return torch.cat([attended(backend, *given, 1, options(run, step, [prompt]), heads=2)
                          for prompt, given in enumerate((positive, negative))])

    def at_once(run, step):
        given = positive, negative
        return torch.cat(together(2, lambda rank: attended(
            backend, *given[rank.number], 1, options(run, step, [rank.number]), heads=2)))

    for way in (in_a_batch, one_by_one, at_once):
        run = SparseRun(SparseSettings(0.1, 1.1))
        ways[way] = [way(run, step) for step in range(3)], run.errors, run.calibration()
    outs, errors, calibration = ways[in_a_batch]
    assert calibration.densities[0] > 2 * calibration.others[1][0], "or the prompts need the same"
    for other in (one_by_one, at_once):
        assert ways[other][1:] == (errors, calibration)
        assert all(torch.equal(*pair) for pair in zip(outs, ways[other][0], strict=True))
    later = SparseRun(SparseSettings(0.1, 1.1), calibration)
    in_a_batch(later, 0)
    assert later.calibration() == calibration


def test_only_one_thread_at_a_time_is_in_a_function_of_others():
    inside, most = [0], [0]

    @one_at_a_time
    def attention():
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.01)
        inside[0] -= 1

    together(4, lambda rank: attention())
    assert most == [1]


def test_a_backend_says_whether_its_queries_must_come_together(in_8_bits):
    sparse, host = (attention_choice.choose("automatic", CPU, precision, HOST) for precision in (FAST, EIGHT_BIT))
    assert in_8_bits.queries_together({})
    assert not host.queries_together({RUN: None})
    assert sparse.queries_together({RUN: None})
    assert not sparse.queries_together({}), "without a run it is exact"
    assert sparse_attention.RUN == RUN


def test_a_further_device_is_tried_once_whoever_asks():
    asked = []

    @once_a_device
    def why_not(device):
        asked.append(device)
        threading.Event().wait(0.05)
        return f"not on {device}"

    assert together(4, lambda rank: why_not(CPU)) == ["not on cpu"] * 4
    assert why_not(torch.device("meta")) == "not on meta"
    assert asked == [CPU, torch.device("meta")]


def test_a_further_device_is_prepared_or_says_why_not(in_8_bits):
    sparse = attention_choice.choose("automatic", CPU, FAST, HOST)
    assert attention_choice.prepare(sparse, FAST, CPU) is None
    assert attention_choice.prepare(attention_choice.choose("automatic", CPU, EIGHT_BIT, HOST), EIGHT_BIT, CPU) is None
    assert attention_choice.prepare(in_8_bits, EIGHT_BIT, CPU) == "it needs an NVIDIA GPU"


def test_cudnn_is_called_with_what_it_takes():
    q, k = (torch.empty(2, length, 256, dtype=torch.bfloat16, device="meta") for length in (300, 100))
    assert cudnn_attention.attention(q, k, k, 2).shape == q.shape


def test_keys_for_int8_are_too_large_for_all_ranks_or_for_none():
    k = torch.randn(2, 300, HEADS * 128, generator=torch.Generator().manual_seed(0)).half()

    def answers():
        return together(HEADS, lambda rank: fp8_attention.keys_are_large(
            k[..., 128 * rank.number :][..., :128], {RANK: rank}))

    k[1, :, :128] *= 2
    assert fp8_attention.keys_are_large(k[..., :128]), "by itself it is refused"
    assert answers() == [False] * HEADS == [fp8_attention.keys_are_large(k)] * HEADS
    k[1, :, :128] *= 2
    assert answers() == [True] * HEADS == [fp8_attention.keys_are_large(k)] * HEADS
