"""What the nodes tell the page of the driving video, the model and the machine, for its plan of the segments."""

import struct
import sysconfig
import time

import assets
import pytest
from golden import TINY
from graphs import add_inputs, add_motion, add_sample_video, load
from safetensors.torch import load_file

FRAMES, CUT = assets.FRAMES, 9
SIZES = {"width": 96, "height": 64}
MODEL = {"dim": TINY.dim, "ffn_dim": TINY.ffn_dim, "num_heads": TINY.num_heads,
         "num_layers": TINY.num_layers}
CPU = {"gpu_bytes": 0}
ONE = {"gpus": 1, "link": None, "lanes": 0, "int8": False}


@pytest.fixture
def told(comfy):
    """told(graph, node) -> the facts, and how long the run took."""

    def run(graph, node):
        began = time.monotonic()
        (facts,) = comfy.run(graph)[node]["scail2_plan"]
        return facts, time.monotonic() - began

    return run


@pytest.fixture
def weights(comfy):
    """Bytes of the tensors in the model's file, which follow its header, and of ComfyUI's table of 1000 sigmas."""
    whole = (comfy.base / "models/diffusion_models/fp32.safetensors").read_bytes()
    return len(whole) - 8 - struct.unpack("<Q", whole[:8])[0] + 4 * 1000


@pytest.fixture
def two_scenes(comfy, graph):
    """A driving video in a file, whose colours turn over at a frame."""
    clip = load_file(graph.images)["driving1"]
    clip[CUT:] = 255 - clip[CUT:]
    assets.write_video(comfy.base / "input/scenes.mp4", clip)
    add_inputs(graph, frames=FRAMES, **SIZES)
    return graph.add("driving", "LoadVideo", file="scenes.mp4")


@pytest.fixture
def cut_finder(comfy):
    """PySceneDetect as this environment has it, in ComfyUI's for one test."""
    pytest.importorskip("scenedetect")
    place = {"class_type": "TestPath", "inputs": {"folder": sysconfig.get_path("purelib")}}
    comfy.run({"on": place | {"inputs": place["inputs"] | {"there": True}}})
    yield
    comfy.run({"off": place | {"inputs": place["inputs"] | {"there": False}}})


def add_check(graph, **options):
    graph.add("check", "SCAIL2Preflight", model=load(graph), solver="unipc", steps=2, shift=3.0, guidance=1.0,
              **{name: [name, 0] for name in ("positive", "negative", "vae", "reference", "driving", "identities")},
              **options)


def add_video(graph, **options):
    add_sample_video(graph, load(graph), **{"segment_length": 13, "codec": "h264"} | options)
    graph.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="facts", format="auto", codec="auto")


def test_motion_tells_of_the_video_alone(graph, told, tmp_path):
    add_inputs(graph, frames=17, additional=True, **SIZES)
    graph.save(tmp_path / "x.safetensors", conditioning=add_motion(graph, length=9))
    facts, _ = told(graph, "motion")
    assert facts == CPU | SIZES | {"frames": 17, "fps": None, "found_cuts": None, "additional": 1, "pace": None,
                                   "rate": 0.0, "every": {"frames": 17, "fps": None, "seconds": None},
                                   "filmed": [96, 64],
                                   "coder_pace": None}


def test_a_check_tells_of_the_model_too(graph, told, weights):
    add_inputs(graph, frames=17, additional=True, **SIZES)
    add_check(graph, scene_cuts="8")
    facts, _ = told(graph, "check")
    assert facts == CPU | SIZES | {"frames": 17, "fps": None, "found_cuts": None, "additional": 1, "pace": None,
                                   "rate": 0.0, "every": {"frames": 17, "fps": None, "seconds": None},
                                   "filmed": [96, 64],
                                   "coder_pace": None, "weight_bytes": weights, "model": MODEL} | ONE


def test_a_video_tells_how_fast_it_was_made(graph, two_scenes, told, weights):
    add_video(graph, steps=3, seed=30)
    facts, seconds = told(graph, "sampled")
    pace, coder_pace = facts.pop("pace"), facts.pop("coder_pace")
    assert facts == CPU | SIZES | {"frames": FRAMES, "fps": "25/2", "found_cuts": None, "additional": 0, "rate": 0.0,
                                   "every": {"frames": FRAMES, "fps": "25/2", "seconds": FRAMES / 12.5},
                                   "filmed": [96, 64],
                                   "weight_bytes": weights, "model": MODEL} | ONE
    # no faster than the matrix products alone on an H200 at its peak, 989 TFLOPS, and no slower than the whole run
    tokens = 3 * (SIZES["width"] // 16) * (SIZES["height"] // 16)  # of 9 frames, which are fewer than a segment has
    least = 2 * TINY.num_layers * tokens * (8 * TINY.dim**2 + 2 * TINY.dim * TINY.ffn_dim) / 989e12
    assert 1 < pace < seconds / least
    # budget_h200.json has 53 ns a pixel: not slower than all the time for the pixels of the two scenes
    assert 0 < coder_pace < seconds / (SIZES["width"] * SIZES["height"] * FRAMES * 40e-9)
    graph.set("sampled", quality=20)  # sampled already: only decoded, and written anew
    facts, _ = told(graph, "sampled")
    assert facts["pace"] is None
    assert facts["coder_pace"] > 0


@pytest.mark.parametrize(("node", "add"), [("check", add_check), ("sampled", add_video)])
def test_cuts_that_were_found_are_told(graph, two_scenes, cut_finder, told, node, add):
    add(graph, scene_cuts="find")
    facts, _ = told(graph, node)
    assert (facts["found_cuts"], facts["frames"], facts["fps"]) == ([CUT], FRAMES, "25/2")
