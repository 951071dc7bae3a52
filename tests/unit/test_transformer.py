"""The network against the official outputs (golden cases A, E and the forwards of F) and its own promises."""

import golden
import pytest
import torch

from scail_model.attention import sdpa
from scail_model.blocks import timestep_sinusoid
from scail_model.lora import merge_lora
from scail_model.solvers import integrate

pytestmark = pytest.mark.usefixtures("no_grad")
CASES = ("A1_t3_8x12", "A2_t5_12x8", "A3_t1_16x16_text512", "A4_batch2_t3_8x12")


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model():
    return golden.tiny_transformer()


def runs(cases):
    loaded = [(case, *golden.load(case)) for case in cases]
    return [pytest.param(tensors, info, run, id=f"{case}-{run['name']}")
            for case, tensors, info in loaded for run in info["runs"]]


def arguments(case="A1_t3_8x12", name="repl_add2_t500.5"):
    tensors, info = golden.load(case)
    run = next(run for run in info["runs"] if run["name"] == name)
    return golden.forward_inputs(tensors, info, run), tensors[run["output"]]


def to_dtype(inputs, dtype):
    """Everything but the timestep, which is float32 in every compute dtype."""
    return {k: v.to(dtype) if torch.is_tensor(v) and k != "timestep" else v for k, v in inputs.items()}


@pytest.mark.parametrize(("tensors", "info", "run"), runs(CASES))
def test_equals_the_official_output(model, tensors, info, run):
    output = model(**golden.forward_inputs(tensors, info, run))
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, tensors[run["output"]], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("tensors", "info", "run"), runs(CASES))
def test_gradient_path_computes_the_same(model, tensors, info, run):
    """With gradients on nothing is overwritten in place; the numbers stay."""
    inputs = golden.forward_inputs(tensors, info, run)
    with torch.enable_grad():
        inputs["x"] = inputs["x"].requires_grad_()
        output = model(**inputs)
        output.square().mean().backward()
    assert inputs["x"].grad.abs().max() > 0
    torch.testing.assert_close(output.detach(), tensors[run["output"]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["anim_t999", "repl_add2_t500.5"])
def test_intermediates_equal_the_official_ones(model, name):
    mid = {key.removeprefix(f"mid.{name}."): value for key, value in golden.load("A1_t3_8x12")[0].items()
           if key.startswith(f"mid.{name}.")}
    inputs, _ = arguments(name=name)
    seen = {}
    before = model.blocks[0].register_forward_pre_hook(lambda _, args: seen.update(tokens=args[0].clone()))
    after = model.blocks[0].register_forward_hook(lambda _, args, output: seen.update(block0=output.clone()))
    model(**inputs)
    before.remove()
    after.remove()
    embedding, modulation = model.embed_time(inputs["timestep"])
    context = model.embed_context(inputs["context"], inputs["clip_features"])
    rows = mid["token_rows"]
    for ours, official in (
        (timestep_sinusoid(inputs["timestep"], 256), mid["time_sinusoid"]), (embedding, mid["e"]),
        (modulation, mid["e0"]), (context[:, mid["context_rows"]], mid["context_at_rows"]),
        (seen["tokens"][:, rows], mid["tokens"]), (seen["block0"][:, rows], mid["block0"]),
    ):
        torch.testing.assert_close(ours, official, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("tensors", "info", "run"), runs(CASES))
def test_bfloat16_stays_close(tensors, info, run):
    inputs = to_dtype(golden.forward_inputs(tensors, info, run), torch.bfloat16)
    output = golden.tiny_transformer(torch.bfloat16)(**inputs)
    expected = tensors[run["output"]]
    assert (output - expected).norm() / expected.norm() < 4.5e-3


def test_rotary_tables_do_not_depend_on_the_dtype(model):
    inputs, _ = arguments()
    half = golden.tiny_transformer(torch.bfloat16)
    model(**inputs)
    half(**to_dtype(inputs, torch.bfloat16))
    for a, b in zip(model._rotations[1], half._rotations[1], strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert torch.equal(a, b)


def test_rotary_tables_follow_the_layout(model):
    """A cached table of one mode must not serve the other."""
    inputs, expected = arguments(name="repl_t999")
    other = model(**{**inputs, "replacement": False})
    output = model(**inputs)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    assert (other - output).abs().max() > 1e-2


def test_modulation_time_and_norms_stay_float32_in_bfloat16():
    """Timesteps that bfloat16 cannot tell apart give different velocities."""
    model = golden.tiny_transformer(torch.bfloat16)
    inputs, _ = arguments()
    inputs = to_dtype(inputs, torch.bfloat16)
    outputs = [model(**{**inputs, "timestep": torch.tensor([t])}) for t in (500.0, 500.5)]
    assert torch.tensor(500.0).bfloat16() == torch.tensor(500.5).bfloat16()
    assert not torch.equal(*outputs)


def test_one_frame_reference_mask_means_zeros_on_the_video(model):
    inputs, expected = arguments()
    inputs["reference_masks"] = inputs["reference_masks"][:, :, :1]
    torch.testing.assert_close(model(**inputs), expected, rtol=0, atol=1e-5)


def test_masks_on_video_frames_are_read(model):
    inputs, expected = arguments()
    inputs["reference_masks"] = inputs["reference_masks"].clone()
    inputs["reference_masks"][:, :, 1:] = 0.5
    assert (model(**inputs) - expected).abs().max() > 1e-3


def test_last_block_computes_only_the_video_rows(model):
    inputs, _ = arguments()
    calls = []

    def attention(q, k, v, heads, transformer_options):
        calls.append((q.shape[1], k.shape[1]))
        return sdpa(q, k, v, heads)

    counted = golden.tiny_transformer(attention=attention)
    assert torch.equal(counted(**inputs), model(**inputs))
    area, frames, extra = 4 * 6, 3, 2
    whole = (extra + 1 + frames) * area + frames * area // 4
    first_block, last_block = calls[:3], calls[3:]
    assert first_block == [(whole, whole), (whole, 512), (whole, 257)]
    assert last_block == [(frames * area, whole), (frames * area, 512), (frames * area, 257)]


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("rows", [1, 50, 10_000])
def test_rows_at_a_time_change_nothing(model, monkeypatch, rows, gradients):
    """Two items, additional references, history; the last block wants the video's rows alone."""
    inputs, _ = arguments("A4_batch2_t3_8x12", "repl_add1_hist_t12_12")
    seen = []

    def attention(q, k, v, heads, transformer_options):
        seen.append(q.shape[1])
        return sdpa(q, k, v, heads)

    chunked = golden.tiny_transformer(attention=attention)
    monkeypatch.setattr(chunked, "rows_at_once", lambda *_: rows)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(chunked(**inputs), model(**inputs), rtol=0, atol=5e-6)
    assert max(seen) == min(rows, max(seen))
    assert (rows > 500) == (len(seen) == 6)


@pytest.mark.parametrize("rows", [None, 50])
def test_the_queries_of_all_rows_come_at_once_where_attention_needs_them(model, monkeypatch, rows):
    """In every block, also in the last one, whose other parts compute the video's rows alone."""
    inputs, _ = arguments("A4_batch2_t3_8x12", "repl_add1_hist_t12_12")
    seen = {}

    class Whole:
        def __call__(self, q, k, v, heads, transformer_options):
            seen.setdefault(k.shape[1], []).append(q.shape[1])
            return sdpa(q, k, v, heads)

        def needs_all_queries(self, transformer_options):
            return True

    network = golden.tiny_transformer(attention=Whole())
    monkeypatch.setattr(network, "rows_at_once", lambda *_: rows)
    torch.testing.assert_close(network(**inputs), model(**inputs), rtol=0, atol=5e-6)
    length = 2 * 24 + 3 * 24 + 3 * 6
    assert seen[length] == [length] * 2
    assert sum(seen[512]) == length + 3 * 24


def test_keys_are_prepared_once_for_all_rows_of_a_block(model, monkeypatch):
    inputs, _ = arguments()

    class Prepared:
        sequences = []

        def __call__(self, q, k, v, heads, transformer_options):
            assert k.shape[1] in (257, 512)  # image and text
            return sdpa(q, k, v, heads)

        def prepare_kv(self, k, v, heads, transformer_options):
            self.sequences.append(k.shape[1])
            return lambda q: sdpa(q, k, v, heads)

    network = golden.tiny_transformer(attention=Prepared())
    monkeypatch.setattr(network, "rows_at_once", lambda *_: 50)
    torch.testing.assert_close(network(**inputs), model(**inputs), rtol=0, atol=5e-6)
    assert Prepared.sequences == [3 * 24 + 3 * 24 + 3 * 6] * 2


def test_transformer_options_reach_every_attention(model):
    inputs, _ = arguments()
    seen = []

    def attention(q, k, v, heads, transformer_options):
        seen.append(transformer_options)
        return sdpa(q, k, v, heads)

    options = {"key": object()}
    golden.tiny_transformer(attention=attention)(**inputs, transformer_options=options)
    assert len(seen) == 6
    assert all(entry is options for entry in seen)


def test_without_clip_features_only_text_is_attended(model):
    inputs, expected = arguments()
    output = model(**{**inputs, "clip_features": None})
    assert torch.isfinite(output).all()
    assert (output - expected).abs().max() > 1e-3


def test_batch_items_do_not_touch_each_other(model):
    """Different texts, timesteps, references: each item alone gives the same as in the batch."""
    inputs, _ = arguments("A4_batch2_t3_8x12", "repl_add1_hist_t12_12")
    together = model(**inputs)
    for item in range(2):
        alone = {k: v[item : item + 1] if torch.is_tensor(v) else v for k, v in inputs.items()}
        torch.testing.assert_close(model(**alone), together[item : item + 1], rtol=0, atol=5e-6)


CHANGES = {
    "size": (lambda i: i | {"x": i["x"][..., :10]},
             "80x64 pixels.*multiples of 32 pixels: use width 64 or 96 and height 64"),
    "text": (lambda i: i | {"context": torch.zeros(1, 513, 4096)}, "513 tokens.*512"),
    "driving frames": (lambda i: i | {"driving_latents": i["driving_latents"][:, :, :2]},
                       r"driving_latents has shape \[1, 16, 2, 4, 6\].*\[1, 16, 3, 4, 6\]"),
    "mask frames": (lambda i: i | {"driving_masks": i["driving_masks"][:, :, :2]}, "driving_masks has shape"),
    "reference masks": (lambda i: i | {"reference_masks": i["reference_masks"][:, :, :3]},
                        r"reference_masks.*\[1, 28, 1, 8, 12\] or \[1, 28, 4, 8, 12\]"),
    "history": (lambda i: i | {"history_mask": torch.zeros(1, 1, 3, 8, 12)}, "history_mask has shape"),
    "half a reference": (lambda i: i | {"additional_masks": None}, "belong together"),
    "additional masks": (lambda i: i | {"additional_masks": i["additional_masks"][:, :, :1]},
                         "additional_masks has shape"),
    "batch": (lambda i: i | {"context": i["context"].expand(2, -1, -1)}, r"context has shape \[2, "),
    "clip": (lambda i: i | {"clip_features": i["clip_features"][:, :256]}, "clip_features has shape"),
    "channels": (lambda i: i | {"x": i["x"].repeat(1, 2, 1, 1, 1)}, r"x has shape \[1, 32"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_names_the_input_that_does_not_fit(model, case):
    change, message = CHANGES[case]
    inputs, _ = arguments()
    with pytest.raises(ValueError, match=message):
        model(**change(inputs))


@pytest.mark.parametrize(("tensors", "info", "run"), runs(("E1_sampling_anim_2seg", "E2_sampling_repl_add2_2seg")))
def test_sampling_loop_equals_the_official_one(model, tensors, info, run):
    """Two segments, guidance, and history latents pinned in the second."""
    batched = {key: value[None] for key, value in tensors.items() if value.ndim in (2, 4)}
    clip = golden.clip_features(1)[None]
    for segment in ("seg0", "seg1"):
        history = batched.get(f"{segment}.history_latent")

        def velocity(x, timestep, segment=segment):
            def predict(context):
                return model(
                    x, timestep[None], context, clip, reference_latents=batched["ref_latent"],
                    reference_masks=batched["ref_masks"], driving_latents=batched[f"{segment}.pose_latent"],
                    driving_masks=batched[f"{segment}.driving_masks"], replacement=info["replace_flag"],
                    history_mask=batched.get(f"{segment}.history_mask"),
                    additional_latents=batched.get("additional_ref_latents"),
                    additional_masks=batched.get("additional_ref_masks"),
                )

            conditional = predict(batched["context"])
            if run["guide_scale"] <= 1:
                return conditional
            unconditional = predict(batched["context_null"])
            return unconditional + run["guide_scale"] * (conditional - unconditional)

        def pin(x, history=history):
            return torch.cat((history, x[:, :, history.shape[2]:]), dim=2)

        latent = integrate(run["solver"], velocity, batched[f"{segment}.noise"], run["steps"], run["shift"],
                           pin=None if history is None else pin)
        torch.testing.assert_close(latent[0], tensors[f"{run['name']}.{segment}.final"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("file", "expected"), [
    ("F1_lora_fp32", "official_fp32_a0.6::forward_A1_anim_t999"),
    ("F1_lora_full_fp32", "fulldelta_full_a0.6::forward_A1_anim_t999"),
])
def test_a_merged_lora_changes_the_output_as_in_the_official_code(file, expected):
    weights = golden.tiny_weights()
    merge_lora(weights, golden.load(file)[0], 0.6)
    merged = golden.tiny_transformer()
    merged.load_state_dict(weights)
    inputs, _ = arguments(name="anim_t999")
    torch.testing.assert_close(merged(**inputs), golden.load("F1_lora_expected")[0][expected], rtol=0, atol=1e-5)
