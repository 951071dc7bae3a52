"""Sample SCAIL-2 Video's options in ComfyUI: what the network is given in each segment, and how frames look then."""

import json

import assets
import numpy as np
import pytest
import torch
from graphs import Graph, add_inputs, load
from safetensors.torch import load_file
from sampling import sample
from vae import MEAN, STD

STEPS, HISTORY = 3, 2  # of every segment; latent frames that hold the overlap
FRAMES, SEGMENTS = 21, 4  # each segment has 9 frames, 3 latent frames
PLAN = [
    {"frames": "9-12", "seed": 5, "only": True},  # the new frames of segment 2
    {"segments": 3, "saved_prompt": "other", "driving_strength": 0.5},
    {"segments": 4, "prompt": "She waves.", "negative_prompt": "a blurry hand", "guidance": 2.5, "reference": 2,
     "seed": 9},
]


@pytest.fixture(scope="module")
def run(comfy, tmp_path_factory):
    """Sample a video with Euler, whose steps are easy to follow; `change` may change the graph's inputs before."""

    def run(change=lambda graph: None, *, frames=13, mode="animation", **options):
        graph = add_inputs(Graph(comfy.images), frames=frames, mode=mode)
        options = {"solver": "euler", "steps": STEPS, "segment_length": 9} | options
        change(graph)
        return sample(comfy, graph, tmp_path_factory.mktemp("calls"), **options)

    return run


@pytest.fixture(scope="module")
def plain(run):
    return run(frames=FRAMES)


@pytest.fixture
def encoded(comfy, graph, tensors):
    """The first frames of a segment's end as the network sees them: encoded and normalised."""

    def encode(path, frames):
        graph.add("frames", "TestImages", path=str(path), name="frames", frames=frames)
        graph.add("vae", "VAELoader", vae_name="wan_tiny.safetensors")
        graph.add("encoded", "VAEEncode", pixels=["frames", 0], vae=["vae", 0])
        return tensors(graph, latent=["encoded", 0], model=load(graph))["samples"]

    return encode


def normalised(latent):
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (MEAN, STD))
    return (latent - mean) / std


def draws(*seeds):
    """One segment's noise from each seed."""
    return [torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


def sigma(call):
    return call["timestep"][0].item() / 1000


def latents_of(call):
    return call["x"][:, :16]


def first_calls(found):
    return found.calls[::STEPS]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Defaults

def test_what_a_program_leaves_out_is_what_the_page_shows(comfy, graph):
    graph.add("defaults", "TestDefaults")
    graph.add("text", "PreviewAny", source=["defaults", 0])
    used = json.loads(comfy.run(graph)["text"]["text"][0])
    required = ["solver", "steps", "shift", "guidance"]
    for node in ("SCAIL2SampleVideo", "SCAIL2Preflight"):
        inputs = comfy.get(f"/object_info/{node}")[node]["input"]
        assert set(required) < inputs["required"].keys()
        shown = {name: (kind[1] if len(kind) > 1 else {}).get("default") for name, kind in inputs["optional"].items()}
        assert shown == {"clip": None, "more_references": None, "sampler": None, "sigmas": None, "plate_masks": None,
                         **{name: value for name, value in used.items() if name not in required}}


def test_official_values_said_aloud_change_nothing(run, plain):
    said = run(lengths="short last", scene_cuts="", history="frames", history_strength=1.0, colour_match="off",
               noise="one generator", plan="[]", driving_background="keep", overlap=5)
    assert len(said.calls) == 2 * STEPS
    assert all(map(same, said.calls, plain.calls))
    assert torch.equal(said.end(1), plain.end(1))


# History

def test_history_can_be_the_latents_as_they_were_sampled(run, plain, encoded):
    """The last latent frames are taken over; the first one of a video holds a single frame, which is encoded."""
    found = run(history="latents")
    assert all(map(same, found.calls[:STEPS], plain.calls))
    last = found.calls[STEPS - 1]
    sampled = latents_of(last) - sigma(last) * last["velocity"]
    begin = encoded(found.path(1, "end.safetensors"), frames=1)
    for call in found.calls[STEPS:]:
        seen = latents_of(call)[:, :, :HISTORY]
        torch.testing.assert_close(seen[:, :, :1], begin, rtol=0, atol=2e-5)
        torch.testing.assert_close(seen[:, :, 1:], sampled[:, :, -1:], rtol=0, atol=2e-5)
    official = latents_of(plain.calls[STEPS])[:, :, :HISTORY]
    assert (official - seen)[:, :, 1].abs().mean() > 0.01


def test_history_strength_rises_to_one(run, plain, encoded):
    """Euler's steps over the history by hand: at first half of it is noise, at last it is clean."""
    found = run(history_strength=0.5)
    assert all(map(same, found.calls[:STEPS], plain.calls))
    calls = found.calls[STEPS:]
    clean = encoded(found.path(1, "end.safetensors"), frames=5)
    generator = torch.Generator().manual_seed(3)
    x = [torch.randn(1, 16, 3, 8, 8, generator=generator) for _ in range(2)][1][:, :, :HISTORY]
    levels = [*map(sigma, calls), 0.0]
    for call, share, level, following in zip(calls, (0.5, 0.75, 1.0), levels, levels[1:], strict=False):
        given = share * clean + (1 - share) * x
        torch.testing.assert_close(latents_of(call)[:, :, :HISTORY], given, rtol=0, atol=5e-5)
        answer = share * clean + (1 - share) * (given - level * call["velocity"][:, :, :HISTORY])
        x = x + (following - level) * (x - answer) / level
    torch.testing.assert_close(normalised(found.latent(2))[:, :, :HISTORY], clean, rtol=0, atol=5e-5)


# Noise

@pytest.mark.parametrize(("kind", "seeds"), [("seed per segment", (3, 4, 5)), ("same noise", (3, 3, 3))])
def test_noise_of_every_segment(run, kind, seeds):
    found = run(frames=17, steps=1, noise=kind)
    for index, (call, noise) in enumerate(zip(found.calls, draws(*seeds), strict=True)):
        new = slice(HISTORY if index else 0, None)
        torch.testing.assert_close(latents_of(call)[:, :, new], noise[:, :, new], rtol=0, atol=1e-6)


# Colours

@pytest.fixture
def before(graph, tensors):
    """A segment's frames as they are decoded, before any colour is matched."""

    def decode(found, segment):
        path = found.path(segment, "latent.safetensors")
        graph.add(f"latent{segment}", "TestLatent", path=str(path))
        graph.add("vae", "VAELoader", vae_name="wan_tiny.safetensors")
        graph.add("decoded", "VAEDecode", samples=[f"latent{segment}", 0], vae=["vae", 0])
        return tensors(graph, image=["decoded", 0])["image"].double().numpy()

    return decode


# sRGB (IEC 61966-2-1) to XYZ, and the white of D65
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])


def to_lab(rgb):
    """CIE LAB of [..., 3] in 0..1."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _XYZ.T / _WHITE
    x, y, z = np.moveaxis(np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)


def from_lab(lab):
    y = (lab[..., 0] + 16) / 116
    f = np.stack((y + lab[..., 1] / 500, y, y - lab[..., 2] / 200), -1)
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_XYZ).T, 0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def matched(frames, judged, target):
    """Frames with every LAB channel moved and stretched as the judged pixels [n, 3] must be to be like the target."""
    judged, target = to_lab(judged), to_lab(target)
    gain = target.std(0) / judged.std(0)
    return from_lab((to_lab(frames) - judged.mean(0)) * gain + target.mean(0))


@pytest.mark.parametrize("mode", ["animation", "replacement"])
@pytest.mark.parametrize("way", ["overlap", "first segment"])
def test_colours_are_drawn_back(comfy, run, before, way, mode):
    """The second segment's new frames, against mean and spread computed here. In replacement only people change, and
    only they are looked at."""
    found = run(mode=mode, steps=1, colour_match=way)
    decoded, first = before(found, 2), before(found, 1)
    shown = np.ones((13, 64, 64), bool)
    if mode == "replacement":
        mask = load_file(comfy.images)["driving_mask1"][:13].amax(-1).numpy() > 0
        shown = mask[:, :, 16:80]  # the middle of the picture is what the result shows
    if way == "overlap":
        expected = matched(decoded[5:], decoded[:5][shown[4:9]], found.end(1).numpy()[shown[4:9]])
    else:
        expected = matched(decoded[5:], decoded[shown[4:]], first[shown[:9]])
    expected = np.where(shown[9:, ..., None], expected, decoded[5:])
    assert np.abs(expected - decoded[5:])[shown[9:]].mean() > 0.01  # there is something to match
    written = assets.pictures_of(found.path(2, "mp4"), "gbrp12le") / 4095
    assert np.abs(written - expected).mean() < 2e-4
    np.testing.assert_allclose(written, expected, rtol=0, atol=1e-2)  # the darkest and strongest colours are cut off
    np.testing.assert_allclose(found.end(1).numpy(), first[4:], rtol=0, atol=1e-6)  # and the first segment stays


# Plan

@pytest.fixture(scope="module")
def planned(run, comfy):
    graph = Graph(comfy.images)
    graph.add("other", "TestText", seed=7)
    graph.add("saved", "SCAIL2SavePrompt", conditioning=["other", 0], name="other", overwrite=True)
    comfy.run(graph)
    yield run(further, frames=FRAMES, plan=json.dumps(PLAN), clip=["encoder", 0],
              **{"more_references.reference_2": ["second", 0]})
    (comfy.base / "models/scail2_prompts/other.safetensors").unlink()


def further(graph):
    """A text encoder and a second reference."""
    graph.add("encoder", "TestTextEncoder")
    graph.pictures("second_image", "reference2")
    graph.add("second", "SCAIL2EncodeReference", **graph["reference"]["inputs"] | {"image": ["second_image", 0]})


@pytest.fixture(scope="module")
def by_segment(planned):
    """The calls for each segment; behind those for segment 2, those for its own take."""
    return [planned.calls[start : start + STEPS] for start in range(0, len(planned.calls), STEPS)]


@pytest.fixture
def embedding(graph, tensors):
    """What a node's prompt gives the network."""

    def embed(class_type, **inputs):
        graph.add("encoder", "TestTextEncoder")
        return tensors(graph, conditioning=graph.add("prompt", class_type, **inputs))["embedding"]

    return embed


def test_segments_without_a_change_stay(plain, by_segment):
    assert len(by_segment) == SEGMENTS + 1
    assert all(map(same, by_segment[0] + by_segment[1], plain.calls))


def test_a_change_for_one_segment_only_is_not_seen_behind_it(plain, by_segment):
    ours, third = by_segment[2], by_segment[3]
    official = plain.calls[STEPS : 2 * STEPS]
    (noise,) = draws(5)
    torch.testing.assert_close(latents_of(ours[0])[:, :, HISTORY:], noise[:, :, HISTORY:], rtol=0, atol=1e-6)
    assert torch.equal(latents_of(ours[0])[:, :, :HISTORY], latents_of(official[0])[:, :, :HISTORY])
    assert torch.equal(third[0]["x"], plain.calls[2 * STEPS]["x"])


def test_a_saved_prompt_is_for_its_segment(by_segment, embedding):
    other, usual = embedding("TestText", seed=7), embedding("TestText", seed=1)
    assert not torch.equal(other, usual)
    for index, calls in enumerate(by_segment[:4]):
        assert all(torch.equal(call["context"], other if index == 3 else usual) for call in calls)


def test_driving_strength_scales_the_driving_latent(plain, by_segment):
    """As it comes from the VAE, before it is normalised."""
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (MEAN, STD))
    whole = plain.calls[2 * STEPS]["pose_latents"][:, :16]
    half = ((whole * std + mean) * 0.5 - mean) / std
    assert (whole - half).abs().mean() > 0.01
    for call in by_segment[3]:
        torch.testing.assert_close(call["pose_latents"][:, :16], half, rtol=0, atol=1e-5)


def test_prompts_go_through_the_text_encoder(by_segment, embedding):
    """With guidance both prompts are asked, together where the sizes allow it."""
    texts = [embedding("CLIPTextEncode", text=text, clip=["encoder", 0]) for text in ("She waves.", "a blurry hand")]
    for call in by_segment[4]:
        assert sorted(call["context"].sum((1, 2)).tolist()) == sorted(text.sum().item() for text in texts)
        assert all(any(torch.equal(seen, text[0]) for text in texts) for seen in call["context"])


def test_guidance_of_a_segment(by_segment, embedding):
    """The second step starts where guidance of 2.5 has led the first one."""
    positive = embedding("CLIPTextEncode", text="She waves.", clip=["encoder", 0])
    first, second = by_segment[4][:2]
    wanted = [torch.equal(seen, positive[0]) for seen in first["context"]]
    assert sorted(wanted) == [False, True]
    towards, away = (first["velocity"][wanted.index(side)] for side in (True, False))
    velocity = away + 2.5 * (towards - away)
    expected = latents_of(first)[0] + (sigma(second) - sigma(first)) * velocity
    torch.testing.assert_close(latents_of(second)[0, :, HISTORY:], expected[:, HISTORY:], rtol=0, atol=2e-5)


def test_a_seed_of_a_segment(by_segment):
    (noise,) = draws(9)
    seen = latents_of(by_segment[4][0])[:1, :, HISTORY:]
    torch.testing.assert_close(seen, noise[:, :, HISTORY:], rtol=0, atol=1e-6)


def test_a_reference_by_number(run, plain, by_segment):
    def second(graph):
        further(graph)
        graph["reference"] = graph["second"]

    alone = run(second, frames=1, steps=1).calls[0]
    usual, chosen = plain.calls[-1], by_segment[4][0]
    for name in ("reference_latent", "clip"):
        assert not torch.equal(chosen[name][:1], usual[name])
        assert all(torch.equal(seen, alone[name][0]) for seen in chosen[name])
        assert all(torch.equal(call[name], usual[name]) for calls in by_segment[:4] for call in calls)
