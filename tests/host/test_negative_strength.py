"""negative_strength in ComfyUI: what the network is given, from every loader and sampler, and what is refused.

Numbers of the network itself are in tests/unit/test_negative_strength.py.
"""

import json

import golden
import pytest
from graphs import Graph, add_inputs, add_ksampler, add_motion, add_sample_video, load
from recordings import forward, recorded
from safetensors.torch import load_file
from sampling import sample, sampled
from test_compatibility import load_by_core, relative

STRENGTH, TEXT = 11.0, "scail2_negative_text"
REPLACES = (r"negative_strength is 11, but {} \(.*\) replaces the cross-attention in which it acts, as KJNodes' "
            "WanVideoNAG does: set negative_strength to 0, or remove that node from the model's line")
REMEDY = "connect the text as CLIP Text Encode gives it, or set negative_strength to 0"
PARTIAL = {
    "two parts": ("The negative prompt has 2 parts, as ConditioningCombine makes them, but negative_strength steers "
                  f"away from one text: {REMEDY}"),
    "some of the steps": ("The negative prompt holds for a part of the sampling, as ConditioningSetTimestepRange sets "
                          f"it, but negative_strength steers away from it in every step: {REMEDY}"),
    "a place": ("The negative prompt holds for a part of the picture, as ConditioningSetMask sets it, but "
                f"negative_strength steers away from it everywhere: {REMEDY}"),
}


def assert_steered(call):
    """The velocity of a call that carried a text to steer away from."""
    network = golden.tiny_transformer()
    expected = forward(network, call, negative_context=call[TEXT], negative_strength=STRENGTH)
    assert relative(call["velocity"], expected) < 2e-5
    assert relative(call["velocity"], forward(network, call)) > 1e-4


@pytest.mark.parametrize("driving_end", [1.0, 0.5])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_ksampler_after_the_motion_node(comfy, graph, tmp_path, guidance, driving_end):
    """The positive prompt is steered in every step, with and without a driving video; the negative one never."""
    add_inputs(graph)
    add_motion(graph, negative_strength=STRENGTH, driving_end=driving_end)
    (tmp_path / "calls").mkdir()
    model = graph.add("recorded", "TestRecord", model=load(graph), folder=str(tmp_path / "calls"))
    comfy.run(graph.save(tmp_path / "latent.st", latent=add_ksampler(graph, model, guidance=guidance)))
    calls = recorded(tmp_path / "calls")
    steered = [call for call in calls if TEXT in call]
    assert len(steered) == 2
    assert len(calls) == (2 if guidance == 1 else 4)
    for call in steered:
        assert_steered(call)


@pytest.fixture(scope="module")
def made(comfy, tmp_path_factory):
    """A video of Sample SCAIL-2 Video with our loader's MODEL."""
    return sample(comfy, add_inputs(Graph(comfy.images)), tmp_path_factory.mktemp("calls"),
                  negative_strength=STRENGTH)


def test_the_video_node(made):
    assert len(made.calls) == 2
    for call in made.calls:
        assert_steered(call)


def test_a_model_of_cores_loader_gives_the_same(comfy, graph, made):
    """With our network on its layers, as GGUF files have it."""
    add_sample_video(add_inputs(graph), load_by_core(graph), negative_strength=STRENGTH)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    found = sampled(comfy.run(graph)["report"]["text"][0])
    assert relative(found.latent(1), made.latent(1)) < 1e-5


def test_the_key_of_a_job_has_it_only_where_it_is_used(comfy, graph, made):
    add_inputs(graph)
    usual = sample(comfy, graph)
    assert sample(comfy, graph, negative_strength=0.0).folder == usual.folder
    assert made.folder != usual.folder


@pytest.mark.parametrize("precision", ["exact", "8-bit"])
def test_what_calls_our_cross_attention_may_stay(comfy, graph, tmp_path, precision):
    """A patch around it, a replaced block, an override of attention; and in 8 bits."""
    add_inputs(graph)
    for strength in (0.0, STRENGTH):
        model = graph.add("noting", "TestNotingPatch", model=load(graph, precision=precision), scale=1.5)
        model = graph.add("block", "TestReplaceBlock", model=model, block=1, path=str(tmp_path / "block.json"))
        motion = f"motion{strength:g}"
        add_motion(graph, motion, negative_strength=strength)
        graph.save(tmp_path / f"{motion}.st", f"saved_{motion}",
                   latent=add_ksampler(graph, model, motion=motion, name=f"sampled_{motion}"))
    comfy.run(graph)
    plain, steered = (load_file(tmp_path / f"motion{strength:g}.st")["samples"] for strength in (0.0, STRENGTH))
    assert relative(steered, plain) > 1e-4
    assert steered.isfinite().all()


@pytest.mark.parametrize(("known", "name"), [(True, "WanCrossAttentionPatch"), (False, "_own_attention")])
def test_another_nodes_cross_attention_is_refused_by_ksampler(comfy, graph, known, name):
    add_inputs(graph)
    add_motion(graph, negative_strength=STRENGTH)
    model = graph.add("other", "TestOtherNag", model=load(graph), known=known)
    with pytest.raises(RuntimeError, match=REPLACES.format(name)):
        comfy.run(graph.save("/dev/null", latent=add_ksampler(graph, model)))


def test_wanvideonag_is_refused_before_anything_is_sampled(comfy, graph):
    add_inputs(graph)
    model = graph.add("other", "TestOtherNag", model=load(graph), known=True)
    add_sample_video(graph, model, negative_strength=STRENGTH)
    graph.add("text", "PreviewAny", source=["sampled", 1])
    before = comfy.files()
    with pytest.raises(RuntimeError, match=REPLACES.format("WanCrossAttentionPatch")):
        comfy.run(graph)
    assert comfy.files() == before
    graph.set("sampled", negative_strength=0.0)
    comfy.run(graph)


def partial(graph, kind):
    """A negative prompt that is not one text for everything."""
    if kind == "two parts":
        graph.add("other_negative", "TestText", seed=5, tokens=3)
        return graph.add("partial", "ConditioningCombine", conditioning_1=["negative", 0],
                         conditioning_2=["other_negative", 0])
    if kind == "a place":
        mask = graph.add("mask", "SolidMask", value=1.0, width=64, height=64)
        return graph.add("partial", "ConditioningSetMask", conditioning=["negative", 0], mask=mask, strength=1.0,
                         set_cond_area="default")
    return graph.add("partial", "ConditioningSetTimestepRange", conditioning=["negative", 0], start=0.2, end=1.0)


@pytest.mark.parametrize("kind", PARTIAL)
def test_a_negative_prompt_for_a_part_is_refused(comfy, graph, kind):
    """By the motion node, and as a finding of the check; with 0 it is as it was."""
    add_inputs(graph)
    negative = partial(graph, kind)
    found = findings(comfy, graph, negative=negative, negative_strength=STRENGTH)
    assert found["errors"] == [{"code": "negative_strength", "text": f"{PARTIAL[kind]}."}]
    add_motion(graph, negative_strength=STRENGTH)
    graph.set("motion", negative=negative)
    graph.add("frames", "PreviewAny", source=["motion", 3])
    with pytest.raises(RuntimeError, match=PARTIAL[kind]):
        comfy.run(graph)
    graph.set("motion", negative_strength=0.0)
    comfy.run(graph)


def test_the_check_says_what_an_empty_negative_prompt_does(comfy, graph):
    add_inputs(graph)
    graph.add("negative", "TestText", seed=2, tokens=1)  # as CLIP Text Encode gives for an empty text
    (found,) = [warning for warning in findings(comfy, graph, negative_strength=STRENGTH)["warnings"]
                if warning["code"] == "negative_strength"]
    assert found["text"].startswith("negative_strength is 11, but the negative prompt is empty")


def findings(comfy, graph, **inputs):
    """What Check SCAIL-2 Inputs says."""
    names = ("positive", "negative", "vae", "reference", "driving", "identities")
    graph.add("check", "SCAIL2Preflight", model=load(graph), **{
        **{name: [name, 0] for name in names}, "solver": "unipc", "steps": 2, "shift": 3.0, "guidance": 1.0, **inputs})
    graph.add("json", "PreviewAny", source=["check", 1])
    return json.loads(comfy.run(graph)["json"]["text"][0])
