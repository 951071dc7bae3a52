"""SCAIL-2 Doctor in ComfyUI: what it measures of a MODEL, with what is on it, and what it finds of files."""

import json
import os

import golden
import pytest
import torch
from assets import LORA_STRENGTH
from comfyui import COMFYUI
from graphs import Graph, load
from safetensors.torch import load_file

from scail_model.doctor.inputs import random_inputs
from scail_model.doctor.modes import SIZES
from scail_model.kernels.linears import QuantizingInt8
from scail_model.kernels.precision import int8_linears
from scail_model.transformer import SCAIL2Transformer

pytestmark = pytest.mark.node("SCAIL2Doctor")


def examine(comfy, graph, **inputs):
    """Report, JSON, and the node's ui output."""
    graph.add("doctor", "SCAIL2Doctor", **inputs)
    graph.add("json", "PreviewAny", source=["doctor", 1])
    graph.add("ok", "PreviewAny", source=["doctor", 2])
    outputs = comfy.run(graph)
    found = json.loads(outputs["json"]["text"][0])
    assert outputs["ok"]["text"] == [str(found["ok"])]
    return outputs["doctor"]["text"][0], found, outputs["doctor"]


def only_looked(comfy, **inputs):
    return examine(comfy, Graph(comfy.images), model_name="none", **inputs)


def modes(found):
    return {mode["mode"]: mode for mode in found["forwards"]["modes"]}


@pytest.fixture(scope="module")
def measured(comfy):
    """Of a usual MODEL."""
    graph = Graph(comfy.images)
    return examine(comfy, graph, model=load(graph))


@pytest.fixture(scope="module")
def with_lora(comfy):
    graph = Graph(comfy.images)
    model = graph.add("lora", "SCAIL2LoadLora", model=load(graph), lora_name="lora.safetensors", strength=LORA_STRENGTH)
    return examine(comfy, graph, model=model)[1]


def by_hand(weights):
    """Velocity of an exact network and of one with 8-bit linears, and the size of the exact one's first keys, without
    ComfyUI."""
    velocities, keys = [], []
    for linears in (None, QuantizingInt8()):
        model = SCAIL2Transformer(golden.TINY, linears=linears)
        model.load_state_dict(weights)
        if linears is not None:
            linears.quantize(model, int8_linears(golden.TINY.num_layers))
        attention = model.blocks[0].self_attn.attention
        model.blocks[0].self_attn.attention = lambda q, k, v, *rest, a=attention, **more: (
            keys.append(k) or a(q, k, v, *rest, **more))
        with torch.inference_mode():
            velocities.append(model(**random_inputs(SIZES[-1], golden.TINY).arguments(torch.device("cpu"))))
    return *velocities, float((keys[0] - keys[0].mean(1)).square().mean().sqrt())


def distance(x, exact):
    return float((x - exact).norm() / exact.norm())


def test_numbers_are_those_of_the_network_without_comfyui(measured):
    exact, rounded, key_size = by_hand(golden.tiny_weights())
    found = modes(measured[1])
    assert found["8-bit"]["difference"] == pytest.approx(distance(rounded, exact), rel=0.02)
    assert found["exact"]["key_sizes"][0] == pytest.approx(key_size, rel=1e-3)
    assert [found["exact"]["weights"], found["8-bit"]["weights"]] == ["float32", "int8_tensorwise"]


def test_sparse_attention_is_measured_with_int8_and_with_exact_linears(measured):
    """At the smallest size it leaves nothing out, so what is left is the error of the linears."""
    found = modes(measured[1])
    assert [found[name]["attention"] for name in ("fast", "exact, sparse")] == ["sparse", "sparse"]
    assert [found[name]["weights"] for name in ("fast", "exact, sparse")] == ["int8_tensorwise", "float32"]
    assert found["fast"]["difference"] == pytest.approx(found["8-bit"]["difference"], rel=0.01)
    assert found["exact, sparse"]["difference"] < 1e-5
    assert "of which all is computed at this size" in measured[0].replace("\n" + " " * 17, " ")


def test_a_lora_is_on_every_precision(comfy, with_lora):
    merged, _, key_size = by_hand(load_file(comfy.base / "models/diffusion_models/merged.safetensors"))
    found = modes(with_lora)
    assert found["exact"]["key_sizes"][0] == pytest.approx(key_size, rel=1e-4)
    # ComfyUI rounds a merged weight twice; without the LoRA it would be much farther
    assert found["8-bit"]["difference"] < 0.02
    assert distance(by_hand(golden.tiny_weights())[0], merged) > 0.06


def test_report_and_json_are_files_that_a_program_can_fetch(comfy, measured):
    text, found, output = measured
    assert [file["subfolder"] for file in output["scail2_files"]] == ["scail2_doctor"] * 2
    written = [comfy.base / "output/scail2_doctor" / file["filename"] for file in output["scail2_files"]]
    assert json.loads(written[0].read_text()) == found
    assert written[1].read_text() == text
    again = only_looked(comfy)[2]["scail2_files"]
    assert {file["filename"] for file in again} & {file["filename"] for file in output["scail2_files"]} == set()


def test_versions_and_settings_are_comfyuis_own(measured):
    found = measured[1]
    assert {"ComfyUI", "torch", "Python", "scail2", "safetensors", "FFmpeg"} < set(found["versions"])
    assert f'"{found["versions"]["ComfyUI"]}"' in (COMFYUI / "comfyui_version.py").read_text()
    assert found["settings"]["dynamic memory"] in ("on", "off")
    assert found["host"] == "ComfyUI"


def test_no_folder_and_no_user_is_named(comfy, measured):
    for told in measured[:2]:
        told = json.dumps(told)
        assert str(comfy.base) not in told
        assert os.path.expanduser("~") not in told


def test_model_files_are_found_in_comfyuis_folders(measured):
    found = {(fact["role"], fact["name"]): fact["state"] for fact in measured[1]["files"]}
    assert found["transformer", "fp32.safetensors"] == "whole"
    assert found["transformer", "truncated.safetensors"] == "damaged"
    assert found["transformer", "missing.safetensors"] == "damaged"
    assert found["transformer", "scail1.safetensors"] == "another model"
    # tests of other modules may have put files of their own on the same server, whose names README has
    roles = {role for role, _ in found}
    assert found.get(("VAE", "wan_tiny.safetensors"), "whole") == "whole"
    assert {"VAE", "SAM3"} <= roles
    assert ("transformer", "vae_as_model.safetensors") not in found
    assert {f"transformer {name}.safetensors" for name in ("missing", "scail1", "truncated")} <= {
        sentence.split(":")[0] for sentence in measured[1]["wrong"]}


def test_none_measures_nothing(comfy):
    text, found, _ = only_looked(comfy)
    assert found["forwards"] is None
    assert "No forward was measured" in text


def test_without_a_model_the_best_file_is_measured(comfy):
    found = examine(comfy, Graph(comfy.images))[1]
    assert found["forwards"]["file"] in {fact["name"] for fact in found["files"] if fact["state"] == "whole"}
    assert [mode["state"] for mode in found["forwards"]["modes"][:2]] == ["measured", "measured"]


def test_a_quantised_file_has_one_precision_and_says_why(comfy):
    text, found, _ = examine(comfy, Graph(comfy.images), model_name="fp8_new.safetensors")
    assert modes(found)["exact"]["state"] == "measured"
    assert [modes(found)[name]["state"] for name in ("8-bit", "fast", "exact, sparse")] == [
        "not here", "not here", "measured"]
    assert "float8_e4m3fn already: choose exact" in text.replace("\n" + " " * 17, " ")


def test_nan_in_a_file_is_wrong(comfy):
    found = examine(comfy, Graph(comfy.images), model_name="nan.safetensors")[1]
    assert "exact gives NaN or infinite numbers" in found["wrong"]


def test_a_model_of_another_loader_is_measured_as_it_is(comfy, graph):
    model = graph.add("core", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")
    found = examine(comfy, graph, model=model)[1]
    assert modes(found)["exact"]["state"] == "measured"
    assert modes(found)["8-bit"] == {"mode": "8-bit", "state": "not here", "reason": "the model comes from another "
                                     "loader: connect Load SCAIL-2 Model"}
    assert found["forwards"]["file"] == "fp32.safetensors"


def test_a_folder_outside_of_the_output_is_refused(comfy):
    with pytest.raises(RuntimeError, match="outside"):
        only_looked(comfy, filename_prefix="../../elsewhere/doctor")


def test_a_cancelled_run_leaves_what_it_has_found(comfy, graph):
    graph.add("doctor", "SCAIL2Doctor", model=load(graph), filename_prefix="cancelled/doctor")
    with comfy.listen() as listener:
        prompt_id = comfy.queue(graph, client_id=listener.client_id)
        while True:
            message = listener.socket.recv()
            if isinstance(message, bytes) and b"looking at" in message:
                comfy.post("/interrupt", {})
                break
        messages, _ = listener.until_done(prompt_id)
    assert messages[-1]["type"] == "execution_interrupted"
    shown = next(message["data"]["output"] for message in messages if message["type"] == "executed")
    assert "stopped before its end" in shown["text"][0]
    written = json.loads((comfy.base / "output/cancelled/doctor_00001_.json").read_text())
    assert written["complete"] is False
    assert written["versions"]
