"""Check SCAIL-2 Inputs in ComfyUI: all findings at once with nothing loaded, and the same checks before sampling."""

import json
import re
import time

import pytest
from graphs import add_inputs, add_sample_video, load
from wrong_plans import CUTS, PLANS, REFERENCES

pytestmark = pytest.mark.node("SCAIL2Preflight")

INPUTS = ("positive", "negative", "vae", "reference", "driving", "identities")


@pytest.fixture
def checked(comfy):
    """Run a graph that ends with the node; returns report, findings by level and what the server wrote."""

    def run(graph, model=None, **options):
        settings = {"solver": "unipc", "steps": 40, "shift": 3.0, "guidance": 5.0}
        links = {name: [name, 0] for name in INPUTS}
        graph.add("check", "SCAIL2Preflight", model=model or load(graph), **(settings | links | options))
        graph.add("json", "PreviewAny", source=["check", 1])
        graph.add("ok", "PreviewAny", source=["check", 2])
        size = comfy.log_size()
        outputs = comfy.run(graph)
        found = json.loads(outputs["json"]["text"][0])
        assert outputs["ok"]["text"] == [str(found["ok"])]
        rows = [(row["level"], row["code"], row["text"]) for row in outputs["check"]["scail2_findings"]]
        assert rows == [(level, finding["code"], finding["text"]) for level in ("error", "warning", "fact")
                        for finding in found[f"{level}s"]]
        return outputs["check"]["text"][0], found, comfy.log_since(size)

    return run


def codes(found, level):
    return [finding["code"] for finding in found[level]]


def text(found, level, code):
    return next(finding["text"] for finding in found[level] if finding["code"] == code)


def unload(comfy):
    comfy.post("/free", {"unload_models": True})
    time.sleep(1)


def test_a_good_graph_has_facts(graph, checked):
    add_inputs(graph, people=2)
    report, found, log = checked(graph, fps=24.0)
    assert found["ok"] is True
    assert found["errors"] == []
    assert report.count("\n- ") == sum(len(found[level]) for level in ("warnings", "facts"))
    assert "Errors" not in report
    assert text(found, "facts", "segments") == ("result: 9 frames of 64x64, in 1 segment(s) of 9 "
                                                 "frames (0.38 s at the most)")
    assert text(found, "facts", "driving") == "driving video: 9 frames of 96x64, 0.4 s at 24 fps"
    assert text(found, "facts", "prompts") == "prompts: 6 tokens in the positive, 2 tokens in the negative"
    assert "no LoRA" in text(found, "facts", "model")
    assert "does not run on a CUDA or ROCm GPU" in text(found, "facts", "vram")
    assert [finding["text"].split(":")[0] for finding in found["facts"] if finding["code"] == "people"][:2] == [
        "blue", "red"]
    assert "Requested to load SCAIL2" not in log


def test_a_video_brings_its_frame_rate(graph, checked):
    add_inputs(graph, frames=21)
    graph.add("driving", "LoadVideo", file="driving.mp4")
    _, found, _ = checked(graph, fps=24.0)
    assert text(found, "facts", "driving") == "driving video: 21 frames of 96x64, 1.7 s at 12.5 fps"


def test_all_errors_at_once(comfy, graph, checked):
    """The prompt, the driving mask and the segments are wrong, and the reference was encoded for the other mode.
    Neither node loads a model for that, nor the VAE for the driving video."""
    add_inputs(graph, width=96)
    encoded = graph.add("encoded", "PreviewAny", source=["reference", 0])
    unload(comfy)
    size = comfy.log_size()
    comfy.run(graph)
    assert "Requested to load WanVAE" in comfy.log_since(size)  # as it would be for the driving video
    unload(comfy)

    other = graph.add("other", "SCAIL2Identities", mode="replacement", contradicting_background="repaint",
                      driving_masks=graph.pictures("shorter", "shorter"), reference_masks=["reference_mask", 0])
    graph.set("positive", tokens=600)
    _, found, log = checked(graph, identities=other, steps=4, guidance=1.0, segment_length=10)
    assert codes(found, "errors") == ["prompt", "driving_mask_frames", "segments", "reference_mode"]
    assert {"guidance", "steps"} <= set(codes(found, "warnings"))
    assert found["ok"] is False
    assert "Requested to load" not in log

    for name in ("check", "json", "ok", encoded[0]):
        del graph[name]
    sample = add_sample_video(graph, ["model", 0], segment_length=10)
    graph.set("sampled", identities=other)
    graph.add("file", "SaveVideo", video=sample, filename_prefix="bad", format="auto", codec="auto")
    size = comfy.log_size()
    with pytest.raises(RuntimeError) as refusal:
        comfy.run(graph)
    assert str(refusal.value).strip() == (
        "SCAIL2SampleVideo: The positive prompt has 600 tokens, but SCAIL-2 reads 512: shorten it. (and 3 more: "
        "see Check SCAIL-2 Inputs.)")
    assert "Requested to load" not in comfy.log_since(size)


def test_every_wrong_plan_is_found(comfy, graph):
    """All of them in one graph, a node for each; whatever else is said is said too."""
    add_inputs(graph)
    load(graph)
    links = {name: [name, 0] for name in ("model", *INPUTS)}
    cases = {("plan", name): case for name, case in PLANS.items()}
    cases |= {("plan", name): (change(graph), message) for name, (change, message) in REFERENCES.items()}
    cases |= {("scene_cuts", name): case for name, case in CUTS.items()}
    for case, (options, _) in cases.items():
        graph.add(f"check {case}", "SCAIL2Preflight", solver="unipc", steps=40, shift=3.0, guidance=5.0,
                  **links | options)
        graph.add(f"json {case}", "PreviewAny", source=[f"check {case}", 1])
    outputs = comfy.run(graph)
    for case, (_, message) in cases.items():
        found = json.loads(outputs[f"json {case}"]["text"][0])
        assert found["ok"] is False
        assert re.match(message, text(found, "errors", case[0])), case
        assert "driving" in codes(found, "facts")


def test_models_of_another_kind(graph, checked):
    """SCAIL-1 by core's loader, and a VAE of three channels; core's own SCAIL-2 is as good as ours."""
    add_inputs(graph)
    wrong = graph.add("scail1", "UNETLoader", unet_name="scail1.safetensors", weight_dtype="default")
    _, found, _ = checked(graph, wrong, vae=graph.add("pixels", "VAELoader", vae_name="pixel_space"))
    assert codes(found, "errors") == ["model", "vae"]
    assert text(found, "errors", "model").startswith("The model is WAN21_SCAIL, not SCAIL-2: connect Load")
    assert text(found, "errors", "vae").startswith("The VAE has 3 channels")
    assert "model" not in codes(found, "facts")
    core = graph.add("core", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")
    _, theirs, _ = checked(graph, core)
    _, ours, _ = checked(graph)
    assert theirs["ok"] is True
    for code in ("model", "segments", "vram"):
        assert text(theirs, "facts", code) == text(ours, "facts", code)


def test_a_lora_is_seen(graph, checked):
    add_inputs(graph)
    lora = graph.add("lora", "LoraLoaderModelOnly", model=load(graph), lora_name="lora.safetensors", strength_model=1.0)
    _, found, _ = checked(graph, lora, steps=8)
    assert text(found, "warnings", "guidance").startswith("guidance is 5 with 8 steps and a LoRA")
    graph.set("lora", strength_model=0.0)
    _, found, _ = checked(graph, lora, steps=8)
    assert codes(found, "warnings").count("steps") == 1


def test_warnings_stand_before_the_result_of_a_run(comfy, graph):
    add_inputs(graph)
    add_sample_video(graph, load(graph), steps=1)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    lines = comfy.run(graph)["report"]["text"][0].splitlines()
    assert lines[0].startswith("warning: guidance is 1 and there is no LoRA")
    assert lines[-1].startswith("9 frames of 64x64 in 1 segment(s), ")
    assert lines[-2].startswith("computed with precision exact, ")
    assert lines[-3].startswith("job folder: ")
    assert lines[-4] == "frame rate: 16 per second, as fps says, because the driving frames have none of their own"
    assert all(line.startswith("warning: ") for line in lines[:-4])
