"""What other nodes do to a MODEL: ours makes of it what core's SCAIL-2 does with the same weights, or says which node
cannot work.

The patches are in testpack/patched.py; all of them run in one graph.
"""

import json

import pytest
from graphs import Graph, add_inputs, add_sample_video, load

HONOURED = {
    "double_block": "code between blocks that reads all it is given",
    "uni3c": "Apply Wan Uni3C ControlNet",
    "attn2_patch": "code after cross-attention, which mixes rows",
    "attn1_patch": "code after self-attention, which reads queries and keys",
    "override": "an attention of another node's, which acts only where queries and keys are as many, as sparse ones",
    "scale_rope": "ScaleROPE",
    "replaced_block": "a replaced last block",
    "nag": "cross-attention exchanged, as WanVideoNAG does",
    "enhance": "self-attention exchanged, as the memory-efficient sage attention does",
    "wrapped": "attention and feed-forward exchanged by functions that call them",
    "chunked_feed_forward": "feed-forward exchanged, as WanChunkFeedForward does",
    "linear": "single linears exchanged",
    "several": "four of these at once",
}
REFUSED = {
    "nag_of_core": ("NAGuidance (nodes_nag) has put a patch of kind attn1_output_patch on the model, which no part of "
                    "SCAIL-2's network runs: remove that node from the model's line."),
    "free_u": ("FreeU_V2 (nodes_freelunch) has put a patch of kind output_block_patch on the model, which no part of "
               "SCAIL-2's network runs: remove that node from the model's line."),
    "hyper_tile": ("HyperTile (nodes_hypertile) has put a patch of kind attn1_patch on the model, which is made for "
                   "another kind of network: remove that node from the model's line."),
    "perturbed_attention": ("PerturbedAttentionGuidance (nodes_pag) replaces parts of kind attn1, which SCAIL-2's "
                            "network does not have: remove that node from the model's line."),
    "infinite_talk": ("WanInfiniteTalkToVideo counts on tokens of the video alone, while SCAIL-2 reads the reference "
                      "and the driving video in the same sequence: remove that node from the model's line."),
    "enhance_a_video": ("WanVideoEnhanceAVideoKJ counts on tokens of the video alone, while SCAIL-2 reads the "
                        "reference and the driving video in the same sequence: remove that node from the model's "
                        "line."),
    "tea_cache": ("A node on the model's line, such as TeaCache or MagCache, exchanges forward_orig of core's Wan "
                  "models, which our network does not have: use EasyCache in its place."),
    "rotary_embedder": ("_RifleX (testpack.patched) replaces diffusion_model.rope_embedder, which our network does "
                        "not call: remove that node from the model's line, or load the model with core's Load "
                        "Diffusion Model."),
    "norm": ("norm (testpack.patched) replaces diffusion_model.blocks.0.norm3.forward, which our network does not "
             "call: remove that node from the model's line, or load the model with core's Load Diffusion Model."),
}
HARMLESS = {
    "skipped_layers_of_others": "SkipLayerGuidanceDiT for layers that the network does not have",
    "nothing": "an empty list of patches",
}


def compared(comfy, precision):
    graph = Graph(comfy.images)
    graph.add("patched", "TestPatched", path=str(comfy.base / "models/diffusion_models/fp32.safetensors"),
              precision=precision)
    graph.add("text", "PreviewAny", source=["patched", 0])
    return json.loads(comfy.run(graph)["text"]["text"][0])


@pytest.fixture(scope="module")
def exact(comfy):
    return compared(comfy, "exact")


@pytest.fixture(scope="module")
def eight_bit(comfy):
    return compared(comfy, "8-bit")


def needs_core(found):
    """Skip a kind that this ComfyUI's own Wan models do not have."""
    if "uni3c" in found.get("error", "") or found.get("effect on core") == 0:
        pytest.skip("this ComfyUI does not have it")


def test_without_patches_both_compute_the_same(exact, eight_bit):
    assert exact["plain"]["from core"] < 1e-5
    assert eight_bit["plain"]["from core"] < 0.02


@pytest.mark.parametrize("kind", HONOURED)
def test_honoured(exact, kind):
    needs_core(exact[kind])
    assert exact[kind]["from core"] < 1e-5
    assert exact[kind]["effect"] > 1e-3


@pytest.mark.parametrize("kind", HONOURED)
def test_honoured_in_8_bits(eight_bit, kind):
    needs_core(eight_bit[kind])
    assert eight_bit[kind]["from core"] < 0.02


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_the_nodes_name(exact, kind):
    assert exact[kind]["error"] == REFUSED[kind]


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless(exact, kind):
    assert exact[kind]["effect"] < 1e-5


@pytest.mark.node("SCAIL2SampleVideo")
def test_a_video_is_refused_before_anything_is_sampled(comfy):
    graph = add_inputs(Graph(comfy.images))
    model = graph.add("nag", "NAGuidance", model=load(graph), nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)
    graph.add("text", "PreviewAny", source=add_sample_video(graph, model))
    before = comfy.files()
    with pytest.raises(RuntimeError, match=r"NAGuidance \(nodes_nag\) has put a patch of kind attn1_output_patch"):
        comfy.run(graph)
    assert comfy.files() == before
