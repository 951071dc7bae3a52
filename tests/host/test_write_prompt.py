"""The nodes for prompts in a real ComfyUI.

The model is core's own Qwen3-VL, tokenizer, vision tower and generation included, in a tiny size. Its weights are set
so that it writes one given sentence whatever it is shown: what it would write of real pictures is not tested here.
"""

import json

import pytest
import torch
from graphs import Graph, add_inputs
from safetensors.torch import save_file

pytestmark = pytest.mark.node("SCAIL2WritePrompt", "SCAIL2AskForPrompt", "SCAIL2CheckPrompt")
PROMPT = ("A tall red robot walks through an empty gray street while rain falls softly onto parked cars, its left arm "
          "swings, both eyes glow amber and the camera stays still in front of him.").replace("cars, its", "cars; its")


@pytest.fixture(scope="module")
def picture(comfy):
    """Graph with one reference picture and nine driving frames."""
    def make():
        graph = add_inputs(Graph(comfy.images))
        graph.pictures("driving", "driving1", frames=9)
        return graph

    return make


@pytest.fixture
def write(comfy, picture, tmp_path):
    """Run the node with a text model; returns its three texts and what the model was asked."""

    def run(answer=PROMPT, kind="sees", **inputs):
        graph, seen = picture(), tmp_path / "seen.json"
        graph.add("llm", "TestTextModel", answer=answer, kind=kind, seen=str(seen))
        given = {"mode": "replacement", "temperature": 0.0, "max_length": 64} | inputs
        graph.add("written", "SCAIL2WritePrompt", clip=["llm", 0], reference=["reference_image", 0],
                  driving=["driving", 0], **given)
        for output in range(3):
            graph.add(f"text{output}", "PreviewAny", source=["written", output])
        outputs = comfy.run(graph)
        return [outputs[f"text{output}"]["text"][0] for output in range(3)], json.loads(seen.read_text())

    return run


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_a_text_model_of_core_writes_the_prompt(write, temperature):
    (prompt, caption, report), (first, second) = write(temperature=temperature, instruction="he goes home", frames=4)
    assert [prompt, caption] == [PROMPT, PROMPT]
    assert report.splitlines()[0].startswith(f"For replacement: {len(PROMPT.split())} words, about ")
    assert [len(first["pictures"]), len(second["pictures"])] == [4, 1]
    assert "he goes home" in first["text"]
    assert PROMPT in second["text"]
    assert "Keep the place, the light and the camera." in second["text"]


def test_the_mode_of_identities_counts(write):
    (_, _, report), asked = write(identities=["identities", 0], examples="MY STYLE")
    assert report.startswith("For animation")
    assert "MY STYLE" in asked[1]["text"]


def test_a_model_of_one_picture_gets_all_in_one(write):
    (prompt, *_), (first, second) = write(kind="sees one", frames=4)
    assert prompt == PROMPT
    assert first["text"].startswith("All pictures lie side by side in one picture")
    (sheet,), (reference,) = first["pictures"], second["pictures"]
    assert sheet == [1, 128, 192, 3]  # four frames of 64 x 96
    assert not second["text"].startswith("All pictures")
    assert reference[0] == 1


@pytest.mark.parametrize(("inputs", "message"), [
    ({"kind": "blind"}, "The clip writes text but sees no pictures: load a text generation model"),
    ({"kind": "encoder"}, "The clip only encodes text and writes none: load a text generation model"),
    ({"answer": "Sorry, this cannot be."}, "The answer of the text model is a refusal .*: change the instruction"),
    ({"answer": "Swap him."}, 'The answer of the text model says "Swap", but a prompt describes the finished video'),
    ({"answer": "A man walks."}, "The answer of the text model has only about"),
    ({"answer": "A man walks home..."}, "The answer of the text model breaks off at the largest length of an answer"),
    ({"answer": "No point ends this sentence of many words about a robot that crosses red streets in rain while cars "
                "pass by and lamps glow above wet roofs at night"}, "breaks off in a sentence"),
])
def test_what_keeps_it_from_a_prompt_is_said_in_one_sentence(write, inputs, message):
    with pytest.raises(RuntimeError, match=message):
        write(**inputs)


def test_a_question_for_other_nodes(comfy, picture, tensors):
    graph = picture()
    graph.add("ask", "SCAIL2AskForPrompt", reference=["reference_image", 0], driving=["driving", 0], mode="animation",
              frames=3)
    images = tensors(graph, image=["ask", 0])["image"]
    driving = tensors(graph, image=["driving", 0])["image"]
    reference = tensors(graph, image=["reference_image", 0])["image"]
    assert images.shape == (4, *torch.maximum(torch.tensor(driving.shape[1:]), torch.tensor(reference.shape[1:])))
    for place, frame in enumerate((driving[0], driving[4], driving[8], reference[0])):
        top, left = ((images.shape[side + 1] - frame.shape[side]) // 2 for side in (0, 1))
        inside = images[place, top : top + frame.shape[0], left : left + frame.shape[1]]
        assert (inside - frame).abs().max() <= 1 / 255
    graph.add("text", "PreviewAny", source=["ask", 1])
    assert comfy.run(graph)["text"]["text"][0].startswith("The first 3 pictures are frames of the video in the order "
                                                          "of time. The last picture is not of that video")


@pytest.mark.parametrize(("frames", "shown"), [(1, 1), (2, 2), (64, 9)])
def test_a_video_of_few_frames_and_several_references(comfy, picture, tensors, frames, shown):
    graph = picture()
    graph.add("video", "CreateVideo", images=["driving", 0], fps=16.0)
    graph.add("both", "ImageBatch", image1=["reference_image", 0], image2=["reference_image", 0])
    graph.add("ask", "SCAIL2AskForPrompt", reference=["both", 0], driving=["video", 0], mode="animation", frames=frames)
    assert len(tensors(graph, image=["ask", 0])["image"]) == shown + 2
    graph.add("text", "PreviewAny", source=["ask", 1])
    text = comfy.run(graph)["text"]["text"][0]
    assert text.startswith("The first picture is a frame" if shown == 1 else f"The first {shown} pictures are frames")
    assert "The last 2 pictures are not of that video: the reference pictures." in text


@pytest.mark.parametrize(("reference", "driving", "message"), [
    (torch.rand(1, 48, 32, 4), torch.rand(5, 48, 32, 4), None),
    (torch.rand(2, 48, 32, 3) * 3 - 1, torch.rand(1, 8, 2000, 3), None),
    (torch.rand(1, 48, 32, 1), torch.rand(5, 48, 32, 3), "The reference has 1 colour channels: turn it into RGB."),
    (torch.rand(1, 48, 32, 3), torch.rand(5, 48, 32, 1), "The driving video has 1 colour channels"),
    (torch.rand(0, 48, 32, 3), torch.rand(5, 48, 32, 3), "The reference has no pictures: connect an output that has"),
    (torch.rand(1, 48, 32, 3), torch.rand(0, 48, 32, 3), "The driving video has no pictures"),
    (torch.full((1, 48, 32, 3), torch.nan), torch.rand(5, 48, 32, 3), "The reference has pixels that are no numbers"),
    (torch.rand(1, 48, 32, 3), torch.full((5, 48, 32, 3), torch.inf), "The driving video has pixels that are no numb"),
], ids=["transparent", "too bright, and wide", "grey", "grey driving video", "empty", "empty driving video", "NaN",
        "infinite driving video"])
def test_kinds_of_pictures(comfy, tensors, tmp_path, reference, driving, message):
    graph = Graph("")
    for name, images in (("reference", reference), ("driving", driving)):
        save_file({"images": images}, tmp_path / f"{name}.safetensors")
        graph.add(name, "TestImages", path=str(tmp_path / f"{name}.safetensors"), name="images")
    graph.add("ask", "SCAIL2AskForPrompt", reference=["reference", 0], driving=["driving", 0], mode="animation",
              frames=3)
    if message is None:
        images = tensors(graph, image=["ask", 0])["image"]
        assert len(images) == min(3, len(driving)) + len(reference)
        assert images.shape[-1] == 3
        assert images.min() >= 0
        assert images.max() <= 1
        return
    graph.add("shown", "PreviewImage", images=["ask", 0])
    with pytest.raises(RuntimeError, match=message):
        comfy.run(graph)


@pytest.mark.parametrize("value", ["null", "5", '["a", "b"]'])
def test_an_answer_that_is_no_text(comfy, value):
    graph = Graph("")
    graph.add("answer", "TestAnything", text=value)
    graph.add("checked", "SCAIL2CheckPrompt", answer=["answer", 0])
    graph.add("text", "PreviewAny", source=["checked", 0])
    with pytest.raises(RuntimeError, match="The answer is (NoneType|int|list) and not text: connect the output"):
        comfy.run(graph)


@pytest.mark.parametrize(("answer", "clip", "expected"), [
    (f'Here is the prompt:\n"{PROMPT}"', False, "words, about "),
    (PROMPT, True, "words, "),
])
def test_an_answer_becomes_a_prompt(comfy, answer, clip, expected, tmp_path):
    graph = Graph("")
    graph.add("answer", "PrimitiveStringMultiline", value=answer)
    counter = {"clip": graph.add("llm", "TestTextModel", answer=PROMPT, kind="blind", seen=str(tmp_path / "x"))}
    graph.add("checked", "SCAIL2CheckPrompt", answer=["answer", 0], **(counter if clip else {}))
    for output in range(2):
        graph.add(f"text{output}", "PreviewAny", source=["checked", output])
    outputs = comfy.run(graph)
    assert outputs["text0"]["text"][0] == PROMPT
    assert expected in outputs["text1"]["text"][0]


def test_an_answer_that_is_none_stops_the_graph(comfy):
    graph = Graph("")
    graph.add("answer", "PrimitiveStringMultiline", value="I'm sorry, I can't.")
    graph.add("checked", "SCAIL2CheckPrompt", answer=["answer", 0])
    graph.add("text", "PreviewAny", source=["checked", 0])
    with pytest.raises(RuntimeError, match="The prompt is a refusal"):
        comfy.run(graph)
