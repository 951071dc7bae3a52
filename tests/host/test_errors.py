"""What a client gets for bad input: one sentence that names input, value and remedy, before the transformer is
loaded, and nothing left behind."""

import json
import math
import re
import time

import pytest
import torch
from graphs import add_inputs, add_ksampler, add_motion, add_sample_video, load
from safetensors.torch import load_file, save_file
from wrong_plans import CUTS, PLANS, REFERENCES

from scail_model.files import prompts


@pytest.fixture(scope="module", autouse=True)
def unloaded(comfy):
    """The transformer is not in memory, so that the log shows whether a test has loaded it."""
    comfy.post("/free", {"unload_models": True})
    time.sleep(1)


@pytest.fixture
def base(graph, tmp_path):
    """A graph that runs, with both ways to sample; tests break one input of it."""
    add_inputs(graph)
    graph.add("recorded", "TestRecord", model=load(graph), folder=str(tmp_path))
    return graph


@pytest.fixture
def refusal(comfy, tmp_path):
    """The error that a graph ends with; nothing was sampled or written before it."""

    def run(graph, loaded=False):
        before, size = comfy.files(), comfy.log_size()
        with pytest.raises(RuntimeError) as error:
            comfy.run(graph)
        node, _, message = str(error.value).partition(": ")
        message = message.strip()
        assert "\n" not in message
        assert len(message) < 500
        assert "Traceback" not in message
        assert comfy.files() == before
        if not loaded:
            assert not list(tmp_path.glob("0*.safetensors"))
            assert "Requested to load SCAIL2" not in comfy.log_since(size)
        return f"{node}: {message}"

    return run


def sampled(graph, **options):
    """SampleVideo and a file, at the end of the graph."""
    add_sample_video(graph, ["recorded", 0], **options)
    graph.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="bad", format="auto", codec="auto")
    return graph


def by_hand(graph, **options):
    add_motion(graph, **options)
    add_ksampler(graph, ["recorded", 0])
    graph.add("decoded", "VAEDecode", samples=["sampled", 0], vae=["vae", 0])
    graph.add("file", "SaveImage", images=["decoded", 0], filename_prefix="bad")
    return graph


BOTH = pytest.mark.parametrize("end", [sampled, by_hand])


def use(name, key, **inputs):
    return lambda graph: graph.pictures(name, key, **inputs)


def mode(value):
    return lambda graph: graph.set("identities", mode=value)


def connect(**inputs):
    """More of the identities node's inputs."""

    def change(graph):
        for name, add in inputs.items():
            graph.set("identities", **{name: add(graph)})

    return change


def track(people=1, copies=1, reference=0, **inputs):
    """SAM3 tracks in place of the colour masks; `reference` as many people in the reference."""

    def change(graph):
        driving = graph.add("track", "TestTrack", path=graph.images, name=f"driving_mask{people}", frames=9,
                            copies=copies)
        still = graph.add("reference_track", "TestTrack", path=graph.images, name="reference_mask1",
                          copies=reference or 1)
        graph.set("identities", driving_masks=driving, reference_masks=still, **inputs)

    return change


def more(side, first=None):
    """A second person's MASK beside what is connected, or beside the MASK `first`."""

    def change(graph):
        if first:
            graph.set("identities", **{f"{side}_masks": [graph.pictures("first", first)[0], 1]})
        second = graph.pictures("second", f"{side}_mask1_{'white' if side == 'driving' else 'black'}", frames=9)
        graph.set("identities", **{f"more_{side}_masks.person_2": [second[0], 1]})

    return change


def gap(graph):
    """MASKs of persons 1 and 3."""
    first, third = (graph.pictures(name, "driving_mask1", frames=9) for name in ("first", "third"))
    graph.set("identities", **{"driving_masks": [first[0], 1], "more_driving_masks.person_3": [third[0], 1]})


# what is done to the graph, and what the message says
IDENTITIES = {
    "colours": (use("driving_mask", "driving1", frames=9),
                r"Frame 0 of the driving mask contains other colours \(9\d\.\d% of the pixels.*blue, red"),
    "one faded frame": (use("driving_mask", "faded", frames=9), r"Frame 3 of the driving mask contains other"),
    "reference colours": (use("reference_mask", "reference1"), r"Frame 0 of the reference mask"),
    "animation masks, replacement": (mode("replacement"),
                                     r"mask has a (black|white) background, which means animation, but the mode is "
                                     "replacement"),
    "driving background": (use("driving_mask", "driving_mask1_white", frames=9),
                           "driving mask has a white background, which means replacement, but the mode is animation"),
    "reference background": (use("reference_mask", "reference_mask1_black"),
                             "reference mask has a black background, which means replacement"),
    "one person more in driving": (use("driving_mask", "driving_mask2", frames=9),
                                   "driving mask contains red, but the reference mask does not: give each person"),
    "one person more in reference": (use("reference_mask", "reference_mask2"),
                                     "reference mask contains red, but the driving mask does not"),
    "empty reference": (use("reference_mask", "empty"), "reference mask is empty: paint the person in blue"),
    "empty driving": (use("driving_mask", "empty_black", frames=9), "driving mask is empty"),
    "driving video of another length": (connect(driving=use("driving", "driving1", frames=8)),
                                        "The driving video has 8 frames, but its mask has 9: use a mask"),
    "driving video of another shape": (connect(driving=use("other", "reference1"), driving_masks=use("still", "still")),
                                       r"The driving mask \(96x64 pixels\) and the driving video \(72x80\) have"),
    "reference of another shape": (connect(reference_image=use("other", "driving1", frames=1)),
                                   r"The reference mask \(72x80 pixels\) and the reference picture \(96x64\) have"),
    "two references, one mask": (connect(reference_image=use("other", "references")),
                                 "There are 2 reference pictures but 1 reference masks: give each picture one mask"),
}
TRACKS = {
    "nobody tracked": (track(copies=0), "The SAM3 track of the driving mask contains no person: lower its threshold"),
    "one tracked too many": (track(people=2), 'driving mask has 2 people, but the reference mask has 1 person: choose '
                                              'who belongs together in the table on the node, or with binding, for '
                                              'example "1:'),
    "seven people": (track(people=1, copies=7, reference=7),
                     "There are 7 people, but SCAIL-2 distinguishes at most 6: choose some with binding"),
    "a binding that is not a pair": (track(binding="2"), 'The binding "2" cannot be read at "2": write pairs of'),
    "a binding to nobody": (track(binding="1:4"), "names person 4 of the driving mask, but the people there are 1:"),
    "a binding from nobody": (track(binding="2:1"), "names person 2 of the reference mask, but the people there are 1"),
    "a binding twice": (track(people=2, reference=1, binding="1:1, 1:2"), "names person 1 of the reference mask twice"),
    "front of nobody": (track(front="2"), 'front is "2", but "2" is repeated or not one of the people 1'),
    "too many names": (track(names="Anna, Ben"), "There are 2 names, but 1 person: give one name for each person"),
    "shrunk to nothing": (track(grow=-40), "Nothing is left of blue in the driving mask after grow -40 and feather 0"),
    "feathered to nothing": (track(feather=40.0), "Nothing is left of blue .* feather 40: shrink or feather less"),
    "more MASKs than a track": (more("driving"), "more_driving_masks is connected, but driving_masks is not a MASK: "
                                                 "connect the MASK of person 1 to driving_masks"),
    "a gap between MASKs": (gap, "more_driving_masks has person_3 connected, but not person_2: leave no gap"),
    "a MASK of another clip": (more("driving", first="shorter"), "Person 2 of the driving mask has 9 frames of 96x64, "
                                                                 "but person 1 has 8 frames of 96x64"),
    "a MASK of another picture": (more("reference", first="driving1"),
                                  "Person 2 of the reference mask has 1 frames of 72x80, but person 1 has 21"),
}


@pytest.mark.parametrize("case", [*IDENTITIES, *TRACKS])
def test_masks(base, refusal, case):
    change, message = (IDENTITIES | TRACKS)[case]
    change(base)
    assert re.search(f"SCAIL2Identities: .*{message}", refusal(sampled(base)))


@BOTH
def test_driving_mask_of_another_length(base, refusal, end):
    base.pictures("driving_mask", "shorter")
    assert "The driving video has 9 frames, but its mask has 8: use a mask" in refusal(end(base))


@pytest.mark.parametrize(("name", "value", "remedy"), [("width", 100, "use 96 or 128"), ("height", 40, "use 32 or 64")])
def test_size(base, refusal, name, value, remedy):
    base.set("reference", **{name: value})
    assert f"SCAIL2EncodeReference: The {name} is {value} pixels, but SCAIL-2 needs a multiple of 32: {remedy}" in (
        refusal(sampled(base)))


def test_number_of_reference_masks(base, refusal):
    base.pictures("reference_image", "references")
    message = refusal(sampled(base))
    assert "There are 2 reference pictures but 1 reference masks: give each picture one mask" in message


def test_clip_of_another_model(base, refusal):
    base.set("clip", width=1024)
    assert re.search(r"features of shape \[257, 1024\], .*load clip_vision_h", refusal(sampled(base)))


@pytest.mark.parametrize(("file", "message"), [
    ("scail1", "is not a SCAIL-2 transformer but SCAIL-1"),
    ("truncated", r"truncated.safetensors is damaged or was cut short .* download or copy it again"),
    ("missing", r"lacks 2 tensors of SCAIL-2, first .*blocks\.1\..*(download it again|choose another file)"),
    ("page", "page.safetensors is a web page, not a model: download the file again"),
    ("lora_as_model", "is not a SCAIL-2 transformer but a LoRA"),
    ("vae_as_model", "is not a SCAIL-2 transformer but a Wan VAE"),
])
def test_checkpoints(comfy, base, refusal, file, message):
    base.set("model", model_name=f"{file}.safetensors")
    assert re.search(f"SCAIL2LoadModel: .*{message}", refusal(sampled(base)))


@pytest.mark.parametrize(("options", "message"), [
    ({"precision": "8-bit", "file": "int8.safetensors"},
     "precision is 8-bit, but this file holds .* in int8 already: choose exact to use it as it is"),
    ({"precision": "fast", "file": "int8.safetensors"},
     "precision is fast, but this file holds .* in int8 already: choose exact with attention sparse to use it"),
    ({"precision": "8-bit", "weight_dtype": "fp8_e4m3fn"},
     "weight_dtype asks for float8_e4m3fn: set weight_dtype to default"),
    ({"attention": "flash_attn_4"}, "attention is flash_attn_4, but it needs an NVIDIA GPU: choose automatic or core"),
    ({"attention": "cudnn"}, "attention is cudnn, but it needs an NVIDIA GPU: choose automatic or core"),
    ({"attention": "cudnn_fp8"}, "attention is cudnn_fp8, but it needs an NVIDIA GPU: choose automatic or core"),
])
def test_ways_to_compute(base, refusal, options, message):
    load(base, **options)
    assert re.search(f"SCAIL2LoadModel: .*{message}", refusal(sampled(base)))


@pytest.mark.parametrize(("end", "options", "message"), [
    (by_hand, {"length": 10}, "10, but it must be 4n.1 and at least 5: take 9 or 13"),
    (by_hand, {"length": 3}, "3, but it must be 4n.1"),
    (sampled, {"segment_length": 10}, "segment_length is 10, but it must be 4n.1 and at least 5: take 9 or 13"),
    (sampled, {"segment_length": 9, "overlap": 4}, "overlap is 4, but it must be 4n.1 and at most 5"),
    (sampled, {"segment_length": 9, "overlap": 9}, "overlap is 9, but .* at most 5"),
    (by_hand, {"start_frame": 9}, "starts at frame 9, but the driving video ends after 9 frames: lower start_frame"),
])
def test_frame_counts(base, refusal, end, options, message):
    assert re.search(message, refusal(end(base, **options)))


@pytest.mark.parametrize(("previous", "options", "message"), [
    (3, {"start_frame": 5}, "There are 3 previous frames, but the overlap is 5: connect all frames"),
    (9, {"start_frame": 0}, "starts at frame 0 with 5 previous frames, but these would be before the video"),
    (9, {"start_frame": 5, "overlap": 6}, "overlap is 6, but it must be 4n.1"),
])
def test_previous_frames(base, refusal, previous, options, message):
    base.pictures("previous", "driving1", frames=previous)
    assert re.search(message, refusal(by_hand(base, previous_frames=["previous", 0], **options)))


@BOTH
@pytest.mark.parametrize("prompt", ["positive", "negative"])
def test_a_prompt_that_is_too_long(base, refusal, end, prompt):
    base.set(prompt, tokens=600)
    assert f"The {prompt} prompt has 600 tokens, but SCAIL-2 reads 512: shorten it." in refusal(end(base))


@pytest.mark.parametrize("case", [*PLANS, *CUTS])
def test_plans_and_cuts(base, refusal, case):
    options, message = (PLANS | CUTS)[case]
    assert re.match(f"SCAIL2SampleVideo: {message}", refusal(sampled(base, **options)))


@pytest.mark.parametrize("case", REFERENCES)
def test_further_references(base, refusal, case):
    change, message = REFERENCES[case]
    assert re.match(f"SCAIL2SampleVideo: {message}", refusal(sampled(base, **change(base))))


def test_a_prompt_of_the_plan_that_is_too_long(base, refusal):
    base.add("encoder", "TestTextEncoder")
    for name, called in (("prompt", ""), ("negative_prompt", "negative ")):
        message = refusal(sampled(base, plan=json.dumps({name: "long" * 150}), clip=["encoder", 0]))
        assert f"The plan's segment 1 {called}prompt has 600 tokens, but SCAIL-2 reads 512: shorten it." in message


def test_a_sampler_without_the_motion_latent(base, refusal):
    base.add("latent", "EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1)
    base.add("sampled", "KSampler", model=["recorded", 0], seed=1, steps=1, cfg=1.0, sampler_name="euler",
             scheduler="simple", positive=["positive", 0], negative=["negative", 0], latent_image=["latent", 0],
             denoise=1.0)
    base.add("file", "SaveLatent", samples=["sampled", 0], filename_prefix="bad")
    message = refusal(base, loaded=True)
    assert re.search("cannot run without a reference picture, .*a driving video.*: connect it to the node", message)


@pytest.mark.parametrize(("steps", "count", "where"), [(2, 9, "segment 1 of 1"), (1, 13, "segment 1 of 2")])
def test_nan_names_step_and_segment(base, refusal, steps, count, where):
    add_inputs(base, frames=count)
    base.set("model", model_name="nan.safetensors")
    message = refusal(sampled(base, steps=steps, segment_length=9), loaded=True)
    assert (f"The latent of {where} has NaN or infinite values after step 1 of {steps}: use another file of the model, "
            "because head.head.bias in this one holds such values.") in message


def _spoilt_lora(comfy, base):
    """Sound but for one tensor."""
    pair = {"diffusion_model.blocks.1.ffn.0.lora_down.weight": torch.ones(2, 256),
            "diffusion_model.blocks.1.ffn.0.lora_up.weight": torch.ones(512, 2)}
    lora = pair | {"diffusion_model.blocks.0.ffn.2.diff_b": torch.full((256,), math.nan)}
    save_file(lora, comfy.base / "models/loras/spoilt.safetensors")
    base.add("lora", "LoraLoaderModelOnly", model=["model", 0], lora_name="spoilt.safetensors", strength_model=1.0)
    base.set("recorded", model=["lora", 0])
    return comfy.base / "models/loras/spoilt.safetensors"


def _spoilt_prompt(comfy, base):
    base.add("positive", "SCAIL2LoadPrompt", file="spoilt.safetensors")
    return prompts.save([[torch.full((1, 4, 4096), math.nan), {}]], comfy.base / "models/scail2_prompts", "spoilt",
                        overwrite=True)


def _spoilt_vae(comfy, base):
    path = comfy.base / "models/vae/spoilt.safetensors"
    tensors = load_file(comfy.base / "models/vae/wan_tiny.safetensors")
    save_file(tensors | {"conv1.bias": tensors["conv1.bias"] * math.nan}, path)
    base.set("vae", vae_name="spoilt.safetensors")
    return path


@pytest.mark.parametrize(("spoil", "message"), [
    (_spoilt_lora, "after step 1 of 2: use another LoRA, or none, because the one for blocks.0.ffn.2.bias holds such"),
    (_spoilt_prompt, "after step 1 of 2: use another text encoder file or prompt, because the positive prompt holds"),
    (_spoilt_vae, "The VAE's latents of the driving video in segment 1 of 1 hold NaN or infinite values: use"),
], ids=["LoRA", "prompt", "VAE"])
def test_nan_names_what_it_comes_from(comfy, base, refusal, spoil, message):
    path = spoil(comfy, base)
    try:
        assert message in refusal(sampled(base), loaded=True)
    finally:
        path.unlink()


def test_choices_and_ranges_are_checked_before_anything_runs(comfy, base):
    """ComfyUI itself refuses them when the graph is posted."""
    sampled(base, solver="heun")
    with pytest.raises(RuntimeError, match="value_not_in_list"):
        comfy.queue(base)
    sampled(base, steps=0)
    with pytest.raises(RuntimeError, match="value_smaller_than_min"):
        comfy.queue(base)
