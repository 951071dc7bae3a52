"""negative_strength: attention to the prompt steered away from the negative one, in our network and its sampling,
against two cross-attentions computed by hand."""

from dataclasses import replace

import golden
import pytest
import torch
import torch.nn.functional as F
from preflight_jobs import job, texts
from safetensors.torch import load_file
from test_generate import SIZE, command
from test_kernels import steered

from scail_model.headless.cli import main
from scail_model.headless.sampling import sample_latent
from scail_model.kernels.linears import QuantizingInt8
from scail_model.kernels.precision import int8_linears
from scail_model.video.options import VideoOptions
from scail_model.video.task import Settings
from tests.demo import drawing

STRENGTH = 11.0
CASES = {"one": ("A1_t3_8x12", "repl_add2_t500.5"), "batch of two": ("A4_batch2_t3_8x12", None)}


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def network():
    return golden.tiny_transformer()


def inputs(case="one", length=23):
    """Arguments of a forward, and a negative text of `length` tokens for each item."""
    file, name = CASES[case]
    tensors, info = golden.load(file)
    given = golden.forward_inputs(tensors, info, next(run for run in info["runs"] if name in (None, run["name"])))
    text = torch.randn(len(given["x"]), length, 4096, generator=torch.Generator().manual_seed(5)) * 0.3
    return given, text


def attended(module, q, k, v):
    """Multi-head attention in float64; k, v: linear's results for a source."""
    q, k, v = (x.double().unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def by_hand(network, negative, strength):
    """The same network, whose cross-attentions are written out: to text, to the other text, and to the image."""
    embedded = network.text_embedding(F.pad(negative, (0, 0, 0, 512 - negative.shape[1])))

    def cross_attention(module, x, context):
        q = module.norm_q(module.q(x))
        pairs = {"text": (context[:, -512:], module.k, module.v, module.norm_k),
                 "negative": (embedded, module.k, module.v, module.norm_k),
                 "image": (context[:, :-512], module.k_img, module.v_img, module.norm_k_img)}
        found = {name: attended(module, q, norm(k(rows)), v(rows)) for name, (rows, k, v, norm) in pairs.items()
                 if rows.shape[1]}
        mixed = steered(found["text"], found["negative"], strength) + found.get("image", 0)
        return module.o(mixed.float())

    for block in network.blocks:
        module = block.cross_attn
        module.sources_of = lambda context, options=None: context
        module.output = lambda x, context, options=None, module=module: cross_attention(module, x, context)
    return network


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strength", [2.0, STRENGTH])
@pytest.mark.parametrize("pictured", [True, False])
def test_equals_two_cross_attentions_written_out(network, case, strength, pictured):
    given, negative = inputs(case)
    given["clip_features"] = given["clip_features"] if pictured else None
    found = network(**given, negative_context=negative, negative_strength=strength)
    plain = network(**given)
    expected = by_hand(golden.tiny_transformer(), negative, strength)(**given)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - plain).abs().max() > 1e-3


@pytest.mark.parametrize("rows", [5, 64])
def test_chunks_of_rows_give_the_same(network, rows):
    given, negative = inputs()
    whole = network(**given, negative_context=negative, negative_strength=STRENGTH)
    calls = [count_calls(block.cross_attn.k) for block in network.blocks]
    network.rows_at_once = lambda tokens, options: rows
    torch.testing.assert_close(network(**given, negative_context=negative, negative_strength=STRENGTH), whole,
                               rtol=0, atol=1e-5)
    assert [len(found) for found in calls] == [1, 1]  # keys of both texts at once, and once for a block


def count_calls(module):
    found = []
    module.register_forward_hook(lambda *_: found.append(1))
    return found


def test_with_int8_linears(network):
    given, negative = inputs()
    exact = network(**given, negative_context=negative, negative_strength=STRENGTH)
    linears = QuantizingInt8()
    rounded = golden.tiny_transformer(linears=linears)
    linears.quantize(rounded, int8_linears(golden.TINY.num_layers))
    found = rounded(**given, negative_context=negative, negative_strength=STRENGTH)
    assert (found - exact).norm() / exact.norm() < 0.03


def test_records_gradients(network):
    given, negative = inputs()
    with torch.enable_grad():
        network(**given, negative_context=negative.requires_grad_(), negative_strength=STRENGTH).square().mean() \
            .backward()
    assert negative.grad.abs().max() > 0


def test_compiled_it_computes_the_same(network):
    given, negative = inputs()
    plain = network(**given, negative_context=negative, negative_strength=STRENGTH)
    for block in network.blocks:
        block.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(network(**given, negative_context=negative, negative_strength=STRENGTH), plain,
                               rtol=0, atol=1e-5)


@pytest.mark.parametrize("steering", [
    {"negative_context": None, "negative_strength": STRENGTH}, {"negative_strength": 0.0},
    {"same": True, "negative_strength": STRENGTH}, {"negative_strength": 1.0}])
def test_without_a_text_or_a_strength_nothing_changes(network, steering):
    """Nor where both texts are the same, or the strength is 1."""
    given, negative = inputs()
    same = steering.pop("same", False)
    text = {"negative_context": given["context"] if same else negative}
    torch.testing.assert_close(network(**given, **{**text, **steering}), network(**given), rtol=0, atol=1e-5)


def test_options_that_are_used_again_do_not_keep_the_text(network):
    given, negative = inputs()
    options = {}
    network(**given, negative_context=negative, negative_strength=STRENGTH, transformer_options=options)
    assert torch.equal(network(**given, transformer_options=options), network(**given))


@pytest.mark.parametrize(("shape", "message"), [
    ((1, 513, 4096), "The negative text has 513 tokens, but SCAIL-2 reads 512: shorten the prompt"),
    ((2, 20, 4096), r"negative_context has shape \[2, 20, 4096\], but a video latent of \[1, .* needs"),
    ((1, 20, 768), r"negative_context has shape \[1, 20, 768\]")])
def test_texts_that_do_not_fit_are_refused(network, shape, message):
    given, _ = inputs()
    with pytest.raises(ValueError, match=message):
        network(**given, negative_context=torch.zeros(shape), negative_strength=STRENGTH)


# Sampling on the command line

@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_only_the_positive_prompt_is_steered(network, guidance):
    tensors, info = golden.load("E1_sampling_anim_2seg")
    conditions = {"reference_latents": tensors["ref_latent"][None], "reference_masks": tensors["ref_masks"][None],
                  "driving_latents": tensors["seg0.pose_latent"][None],
                  "driving_masks": tensors["seg0.driving_masks"][None], "replacement": info["replace_flag"]}
    positive, negative = tensors["context"][None], tensors["context"][None].flip(1) * 0.7
    noise, clip = tensors["seg0.noise"][None], golden.clip_features(1)[None]
    settings = Settings("euler", 2, 1.0, guidance, 0, 81, 5, False, negative_strength=STRENGTH)
    found = sample_latent(network, positive, negative if guidance > 1 else None, clip, conditions, noise, settings,
                          guidance=guidance, steered_from=negative)
    x = noise
    for level in (1.0, 0.5):
        def velocity(text, level=level, x=x, **steering):
            return network(x, torch.tensor([1000 * level]), text, clip, **conditions, **steering)

        answer = velocity(positive, negative_context=negative, negative_strength=STRENGTH)
        if guidance > 1:
            answer = velocity(negative) + guidance * (answer - velocity(negative))
        x = x - answer / 2
    torch.testing.assert_close(found, x, rtol=0, atol=1e-5)


def test_a_segments_negative_prompt_acts_in_that_segment(models, tmp_path):
    """At guidance 1, where it has no effect otherwise."""
    files = drawing.write_job(tmp_path / "files", SIZE, 12)  # two segments of 9
    plan = '[{"segments": 2, "negative_prompt": "two figures talk"}]'
    made = {}
    for name, options in {"without": {}, "with": {"negative_strength": STRENGTH}}.items():
        for changed in ("", plan):
            folder = tmp_path / name / ("plan" if changed else "plain")
            folder.mkdir(parents=True)
            assert main(command(models, files, folder / "video.mp4", sample_guide_scale=1.0, plan=changed or None,
                                negative_prompt="grey", **options)) == 0
            made[name, changed] = [load_file(path)["samples"]
                                   for path in sorted(folder.glob("scail2_jobs/*/*.latent.safetensors"))]
    assert all(map(torch.equal, made["without", ""], made["without", plan]))
    (first, second), (same, other) = made["with", ""], made["with", plan]
    assert torch.equal(first, same)
    assert (second - other).abs().max() > 1e-3
    assert (made["without", ""][0] - first).abs().max() > 1e-3


def test_keys_of_jobs_change_only_where_it_is_used():
    usual = VideoOptions().settings(7)
    assert "negative_strength" not in usual.key_values
    assert VideoOptions(negative_strength=STRENGTH).settings(7).key_values == usual.key_values | {
        "negative_strength": STRENGTH}
    assert VideoOptions(negative_strength=STRENGTH, draft=True).settings(7).negative_strength == STRENGTH


@pytest.mark.parametrize("strength", [0.5, 1, 1.0])
def test_what_would_steer_towards_it_is_refused(strength):
    with pytest.raises(ValueError, match=f"negative_strength is {strength:g}, but only above 1 does it steer away"):
        VideoOptions(negative_strength=strength).check_values()


@pytest.mark.parametrize("strength", [-1, 100.5, float("nan"), True, "11"])
def test_what_is_no_strength_is_refused(strength):
    with pytest.raises(ValueError, match="negative_strength is .*, but it must be 0.0 to 100.0"):
        VideoOptions(negative_strength=strength).check_values()


# The check

def found_of(strength, guidance, tokens):
    checked = replace(job(guidance=guidance), negative_strength=strength, tokens={"positive": 80, **tokens})
    return next((text for level in ("warning", "fact") for code, text in texts(checked, level).items()
                 if code == "negative_strength"), "")


@pytest.mark.parametrize(("strength", "guidance", "tokens", "expected"), [
    (11.0, 1.0, {"negative": 9}, ""),
    (11.0, 1.0, {}, ""),  # a saved prompt, whose length the command line does not know
    (11.0, 1.0, {"negative": 1}, "negative_strength is 11, but the negative prompt is empty, so attention is steered "
                                 "away from nothing in particular: write"),
    (11.0, 5.0, {"negative": 0}, "negative_strength is 11, but the negative prompt is empty"),  # zeroed out
    (9.0, 5.0, {"negative": 9}, "negative_strength 9 acts within the positive prompt's half of each step, beside "
                                "guidance 5"),
    (0.0, 1.0, {"negative": 9}, "The negative prompt has no effect at guidance 1; negative_strength gives it one"),
    (0.0, 1.0, {"negative": 1}, ""), (0.0, 1.0, {}, ""), (0.0, 5.0, {"negative": 9}, "")])
def test_findings(strength, guidance, tokens, expected):
    found = found_of(strength, guidance, tokens)
    assert found.startswith(expected) if expected else not found


def test_the_check_names_the_strength():
    assert texts(job(negative_strength=STRENGTH), "fact")["sampling"].endswith("guidance 5, negative_strength 11")
    assert "negative_strength" not in texts(job(), "fact")["sampling"]
