"""What core gives to every model, shown to work for ours: samplers, LoRA, 8-bit files, compile, caches, context
windows, block and attention patches, previews, cancel."""

import json
import re
import time

import assets
import golden
import pytest
import torch
from graphs import add_inputs, add_ksampler, add_motion, add_sample_video, load
from recordings import forward, recorded

# allowed distance from float32
FILES = {"bf16": 0.01, "fp8_old": 0.05, "fp8_new": 0.05, "int8": 0.02}
# the tiny weights are numbers that e4m3 holds exactly, so there only what stays bf16 is rounded
PLAIN_FP8 = {"fp8_e4m3fn": 0.01, "fp8_e4m3fn_fast": 0.01, "fp8_e5m2": 0.1}
EXACT_FILES = ("prefixed", "sat")


@pytest.fixture
def sampled(graph, tensors):
    """The latent that KSampler makes, given how the loaded model is patched: patch(graph, model) -> model."""

    def run(patch=lambda graph, model: model, file="fp32.safetensors", weight_dtype="default", frames=9,
            history=False, precision="exact", attention="automatic", **options):
        add_inputs(graph, frames=frames)
        model = patch(graph, load(graph, file, weight_dtype, precision=precision, attention=attention))
        if history:
            add_motion(graph, length=frames, start_frame=5, previous_frames=graph.pictures("previous", "driving1"))
        else:
            add_motion(graph, length=frames)
        return tensors(graph, latent=add_ksampler(graph, model, **options), model=["model", 0])["samples"]

    return run


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def recorder(folder):
    folder.mkdir()
    return lambda graph, model: graph.add("recorded", "TestRecord", model=model, folder=str(folder))


# Samplers

def test_ksampler(sampled):
    latent = sampled(steps=3, guidance=5.0)
    assert latent.shape == (1, 16, 3, 8, 8)
    assert latent.isfinite().all()
    assert latent.std() > 0.3


@pytest.mark.parametrize("additional", [False, True])
@pytest.mark.parametrize("mode", ["animation", "replacement"])
def test_a_call_is_the_pure_network(comfy, graph, tensors, tmp_path, mode, additional):
    """What the binding hands to the network equals calling the network with the same tensors."""
    add_inputs(graph, mode=mode, additional=additional)
    add_motion(graph)
    model = recorder(tmp_path / "calls")(graph, load(graph))
    tensors(graph, latent=add_ksampler(graph, model, steps=1))
    (call,) = recorded(tmp_path / "calls")
    assert call["reference_latent"].shape[2] == (2 if additional else 1)
    torch.testing.assert_close(call["velocity"], forward(golden.tiny_transformer(), call), rtol=0, atol=1e-5)


# Files

@pytest.mark.node("SCAIL2LoadModel")
@pytest.mark.parametrize("file", EXACT_FILES)
def test_every_form_of_a_file_is_the_same_model(sampled, file):
    torch.testing.assert_close(sampled(file=f"{file}.{'pt' if file == 'sat' else 'safetensors'}"), sampled(), rtol=0,
                               atol=0)


@pytest.mark.node("SCAIL2LoadModel")
@pytest.mark.parametrize("file", FILES)
def test_smaller_files_are_near_float32(sampled, file):
    assert 0 < distance(sampled(file=f"{file}.safetensors"), sampled()) < FILES[file]


@pytest.mark.parametrize("weight_dtype", PLAIN_FP8)
def test_plain_fp8_is_near_float32(sampled, weight_dtype):
    assert 0 < distance(sampled(weight_dtype=weight_dtype), sampled()) < PLAIN_FP8[weight_dtype]


@pytest.mark.node("SCAIL2LoadModel")
def test_fp8_is_for_the_weights_of_the_blocks_linears(comfy, graph):
    """The rest would save little and cost the precision. With dynamic memory too, which a CPU does not have: what
    ComfyUI has noted is what it converts to on the way to the GPU."""
    graph.add("stored", "TestStoredDtypes", path=str(comfy.base / "models/diffusion_models/fp32.safetensors"))
    graph.add("text", "PreviewAny", source=["stored", 0])
    stored = json.loads(comfy.run(graph)["text"]["text"][0])
    linears = {f"{name}.weight" for name, module in golden.tiny_transformer().blocks.named_modules(prefix="blocks")
               if isinstance(module, torch.nn.Linear)}
    assert set(stored) == set(golden.tiny_weights())
    assert {name for name, dtype in stored.items() if dtype == "float8_e4m3fn"} == linears
    assert {dtype for name, dtype in stored.items() if name not in linears} == {"bfloat16"}


@pytest.mark.parametrize("file", ["fp32", "bf16"])
def test_8_bit_mode_is_near_float32(sampled, file):
    """Nearer than int8 files, whose weights have one scale each."""
    assert 1e-4 < distance(sampled(file=f"{file}.safetensors", precision="8-bit"), sampled()) < FILES["int8"]


@pytest.mark.node("SCAIL2LoadModel")
@pytest.mark.parametrize("attention", ["core", "pytorch", "split"])
def test_every_exact_attention_gives_the_same(comfy, sampled, attention):
    size = comfy.log_size()
    assert distance(sampled(attention=attention), sampled()) < 1e-5
    used = "sub_quad|pytorch" if attention == "core" else attention
    assert re.search(rf"SCAIL-2: precision exact, attention ({used}) \(as asked\)\.", comfy.log_since(size))


def lora(graph, model):
    return graph.add("lora", "LoraLoaderModelOnly", model=model, lora_name="lora.safetensors",
                     strength_model=assets.LORA_STRENGTH)


def test_lora_equals_its_merged_weights(comfy, sampled):
    size = comfy.log_size()
    with_lora, merged, plain = sampled(lora), sampled(file="merged.safetensors"), sampled()
    assert "NOT LOADED" not in comfy.log_since(size)
    assert distance(plain, merged) > 0.1
    assert distance(with_lora, merged) < 1e-5


@pytest.mark.parametrize("file", ["fp8_new", "int8"])
def test_lora_on_a_quantised_file(sampled, file):
    merged = sampled(file="merged.safetensors")
    assert distance(sampled(file=f"{file}.safetensors"), merged) > 0.1
    assert distance(sampled(lora, file=f"{file}.safetensors"), merged) < 0.05


def test_lora_in_8_bit_mode(sampled):
    merged = sampled(file="merged.safetensors")
    assert distance(sampled(precision="8-bit"), merged) > 0.1
    assert distance(sampled(lora, precision="8-bit"), merged) < 0.05


# Patches

def test_skip_layer_guidance(sampled):
    def skip(graph, model):
        return graph.add("skip", "SkipLayerGuidanceDiT", model=model, double_layers="0", single_layers="", scale=3.0,
                         start_percent=0.0, end_percent=1.0, rescaling_scale=0.0)

    assert distance(sampled(skip, guidance=5.0), sampled(guidance=5.0)) > 0.01


@pytest.mark.parametrize("block", [0, 1])
def test_a_replacement_that_calls_the_block_changes_nothing(sampled, tmp_path, block):
    """The last block too, though it normally computes only the video's tokens."""
    note = tmp_path / "note.json"
    found = sampled(lambda graph, model: graph.add("replaced", "TestReplaceBlock", model=model, block=block,
                                                   path=str(note)))
    torch.testing.assert_close(found, sampled(), rtol=0, atol=1e-6 if block else 0)
    assert json.loads(note.read_text()) == {"arguments": ["img", "pe", "transformer_options", "txt", "vec"],
                                            "index": block, "total": 2, "input_kept": True}


@pytest.mark.parametrize(("way", "calls"), [("attn1_patch", 2), ("override", 6)])
def test_attention_patches(sampled, tmp_path, way, calls):
    """Two blocks: two self-attentions, and each has one attention to the text and one to the image."""
    note = tmp_path / "note.json"

    def scaled(scale):
        return lambda graph, model: graph.add("attention", "TestAttention", model=model, way=way, scale=scale,
                                              path=str(note))

    plain = sampled(steps=1)
    assert torch.equal(sampled(scaled(1.0), steps=1), plain)
    assert len(json.loads(note.read_text())) == calls
    assert distance(sampled(scaled(0.5), steps=1), plain) > 0.01


def test_attention_patches_get_what_core_gives(comfy, graph, tensors, tmp_path):
    notes = []
    for name, loader in (("ours", load), ("core", load_by_core)):
        note = tmp_path / f"{name}.json"
        add_inputs(graph)
        model = graph.add("attention", "TestAttention", model=loader(graph), way="attn1_patch", scale=1.0,
                          path=str(note))
        add_motion(graph)
        tensors(graph, latent=add_ksampler(graph, model, steps=1))
        notes.append(json.loads(note.read_text()))
    assert notes[0][0] == notes[1][0]


def load_by_core(graph):
    return graph.add("model", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")


def test_easy_cache_skips_calls(sampled, tmp_path):
    def cached(graph, model):
        cache = graph.add("cache", "EasyCache", model=model, reuse_threshold=3.0, start_percent=0.0, end_percent=1.0,
                          verbose=False)
        return recorder(tmp_path / "calls")(graph, cache)

    latent = sampled(cached, steps=6)
    assert latent.isfinite().all()
    assert 1 <= len(recorded(tmp_path / "calls")) < 6


@pytest.mark.slow
def test_compiled_model(sampled):
    compiled = sampled(lambda graph, model: graph.add("compiled", "TorchCompileModel", model=model,
                                                      backend="inductor"))
    assert distance(compiled, sampled()) < 1e-4


# Context windows

FRAMES, WINDOW = 21, 9  # 6 and 3 latent frames


def windows(graph, model):
    return graph.add("windows", "WanContextWindowsManual", model=model, context_length=WINDOW, context_overlap=4,
                     context_schedule="standard_static", context_stride=1, closed_loop=False, fuse_method="pyramid",
                     freenoise=False, retain_first_frame=False, split_conds_to_windows=False)


@pytest.mark.parametrize("history", [False, True])
def test_context_windows_slice_every_stream_alike(sampled, tmp_path, history):
    """Noise (with the mask of clean frames), driving frames and driving masks of one call are the same frames of the
    video; masks and latents of the references stay in front; and each call is the network on these slices."""
    options = {"frames": FRAMES, "steps": 1, "history": history}
    sampled(recorder(tmp_path / "whole"), **options)
    latent = sampled(lambda graph, model: recorder(tmp_path / "calls")(graph, windows(graph, model)), **options)
    assert latent.shape[2] == 6
    (whole,) = recorded(tmp_path / "whole")
    assert whole["x"][:, 16:, :2].all() == history
    calls = recorded(tmp_path / "calls")
    seen = set()
    for call in calls:
        frames = [frame_index(whole["x"], call["x"], i) for i in range(call["x"].shape[2])]
        assert len(frames) in (3, 4)  # core puts the frame before the window in front of it
        assert frames == list(range(frames[0], frames[0] + len(frames)))
        assert torch.equal(call["pose_latents"], whole["pose_latents"][:, :, frames])
        assert torch.equal(call["sam_latents"], whole["sam_latents"][:, :, frames])
        assert torch.equal(call["reference_latent"], whole["reference_latent"])
        assert torch.equal(call["ref_mask_latents"], whole["ref_mask_latents"][:, :, : 1 + len(frames)])
        torch.testing.assert_close(call["velocity"], forward(golden.tiny_transformer(), call), rtol=0, atol=1e-5)
        seen |= set(frames)
    assert len(calls) == 3
    assert seen == set(range(6))


def frame_index(whole, part, frame):
    """Which frame of `whole` the frame of `part` is."""
    return next(i for i in range(whole.shape[2]) if torch.equal(whole[:, :, i], part[:, :, frame]))


# Progress and cancel

PREVIEW, TEXT = 4, 3  # what the first bytes of a binary message say it is


def by_ksampler(graph, steps):
    add_inputs(graph)
    add_motion(graph)
    add_ksampler(graph, load(graph), steps=steps)
    graph.add("decoded", "VAEDecode", samples=["sampled", 0], vae=["vae", 0])
    return graph.add("video", "CreateVideo", images=["decoded", 0], fps=12.5)


def by_sample_video(graph, steps):
    add_inputs(graph, frames=13)
    return add_sample_video(graph, load(graph), steps=steps, segment_length=9)


@pytest.fixture
def listen(comfy, graph):
    """Run a graph whose video is saved, `then` once sampling is under way; messages, and binary ones by kind."""

    def run(video, then=None):
        graph.add("file", "SaveVideo", video=video, filename_prefix="run", format="auto", codec="auto")
        with comfy.listen() as listener:
            prompt = comfy.queue(graph, client_id=listener.client_id, extra_data={"preview_method": "latent2rgb"})
            return listener.until_done(prompt, then)

    return run


def of_kind(binary, kind):
    return [message for message in binary if int.from_bytes(message[:4], "big") == kind]


@pytest.mark.parametrize(("sample", "total"), [(by_ksampler, 3), (by_sample_video, 6)])
def test_every_step_sends_a_preview(graph, listen, sample, total):
    """One segment and two of three steps."""
    messages, binary = listen(sample(graph, 3))
    assert messages[-1]["type"] == "execution_success"
    previews = of_kind(binary, PREVIEW)
    assert len(previews) == total
    assert all(b"\xff\xd8\xff" in preview for preview in previews)  # a JPEG
    progress = [message["data"]["nodes"]["sampled"] for message in messages
                if message["type"] == "progress_state" and "sampled" in message["data"]["nodes"]]
    assert (progress[-1]["value"], progress[-1]["max"]) == (total, total)


def test_sample_video_says_where_it_is(graph, listen):
    _, binary = listen(by_sample_video(graph, 2))
    *texts, last = [message.decode(errors="replace") for message in of_kind(binary, TEXT)]
    assert re.search(r"finished in \d+ s$", last)
    told = [text.split("segment ", 1)[1].split(", about")[0] for text in texts]
    finished = [text for text in told if text.endswith("finished")]
    assert finished == ["1 of 2, finished", "2 of 2, finished"]  # the first one any time after its writing has begun
    assert told.index("1 of 2, writing") < told.index(finished[0]) < told.index("2 of 2, decoding")
    steps = ["encoding", "sampling", "step 1 of 2", "step 2 of 2", "decoding", "writing"]
    assert [text for text in told if text not in finished] == [
        *(f"1 of 2, {step}" for step in steps), *(f"2 of 2, {step}" for step in steps), "2 of 2, joining"]
    assert "about " in texts[2]
    assert "about 0 s left" in texts[-1]


@pytest.mark.parametrize("sample", [by_ksampler, by_sample_video])
def test_interrupt_ends_a_run_and_leaves_nothing(comfy, graph, listen, sample):
    before, times = comfy.files(), []

    def interrupt():
        times.append(time.monotonic())
        comfy.post("/interrupt", {})

    messages, _ = listen(sample(graph, 1000), interrupt)
    assert messages[-1]["type"] == "execution_interrupted"
    assert time.monotonic() - times[0] < 1
    assert comfy.files() == before
