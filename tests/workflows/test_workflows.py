"""The workflow files: UI format for the template browser, API format for programs."""

from __future__ import annotations

import json
import re

import generate
import pytest
from PIL import Image
from workflow_files import checks, core_nodes, definitions
from workflow_files.graph import api, widgets

NAMES = [make.__name__ for make in definitions.ALL]
each = pytest.mark.parametrize("name", NAMES)
FOLDERS = {"diffusion_models", "text_encoders", "clip_vision", "vae", "loras", "checkpoints"}
MODEL_INPUTS = {"SCAIL2LoadModel": "model_name", "CLIPLoader": "clip_name", "CLIPVisionLoader": "clip_name",
                "VAELoader": "vae_name", "LoraLoaderModelOnly": "lora_name", "CheckpointLoaderSimple": "ckpt_name"}


def ui_file(name: str) -> dict:
    return json.loads((generate.WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def api_file(name: str) -> dict:
    return json.loads((generate.WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def nodes_of(workflow: dict, *, notes: bool = False) -> list[dict]:
    return [node for node in workflow["nodes"] if notes or node["type"] != "MarkdownNote"]


def test_every_file_is_a_workflow_in_both_forms_with_a_picture():
    assert {path.stem for path in generate.WORKFLOWS.glob("*.json")} == set(NAMES)
    assert {path.stem for path in (generate.WORKFLOWS / "api").iterdir()} == set(NAMES)
    assert {path.stem for path in generate.WORKFLOWS.glob("*.jpg")} == set(NAMES)


@each
def test_picture_is_a_small_jpeg(name):
    path = generate.WORKFLOWS / f"{name}.jpg"
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert min(image.size) >= 400
    assert path.stat().st_size < 150_000


@each
def test_form_is_complete(name):
    workflow = ui_file(name)
    assert workflow["version"] == 0.4
    assert workflow["extra"] == {}
    assert {"id", "revision", "last_node_id", "last_link_id", "nodes", "links", "groups", "config"} <= set(workflow)
    ids = [node["id"] for node in workflow["nodes"]]
    links = [link[0] for link in workflow["links"]]
    assert len(set(ids)) == len(ids)
    assert workflow["last_node_id"] == max(ids)
    assert len(set(links)) == len(links)
    assert workflow["last_link_id"] == max(links)
    assert len({ui_file(other)["id"] for other in NAMES}) == len(NAMES)


@each
def test_nodes_say_where_they_come_from(name):
    for node in nodes_of(ui_file(name), notes=True):
        properties = node["properties"]
        assert properties["cnr_id"] == ("scail2" if node["type"].startswith("SCAIL2") else "comfy-core")
        assert re.fullmatch(r"\d+\.\d+\.\d+", properties["ver"])
        assert properties["Node name for S&R"] == node["type"]


@each
def test_loaders_say_where_their_files_are(name):
    workflow = ui_file(name)
    loaders = [node for node in nodes_of(workflow) if node["type"] in MODEL_INPUTS]
    assert len(loaders) >= 4
    notes = " ".join(node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    for node in loaders:
        (model,) = node["properties"]["models"]
        assert set(model) == {"name", "url", "directory"}
        assert model["name"] == node["widgets_values"][0]
        assert model["directory"] in FOLDERS
        assert re.fullmatch(rf"https://huggingface\.co/[\w.-]+/[\w.-]+/resolve/main/([\w.-]+/)*{re.escape(model['name'])}",
                            model["url"])
        assert f"]({model['url']})" in notes
        assert f"models/{model['directory']}**" in notes


@each
def test_two_notes_explain_the_workflow(name):
    notes = [node["widgets_values"][0] for node in ui_file(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert len(notes) == 2
    assert all(len(text) > 500 for text in notes)
    # the frontend joins the lines of a paragraph without a space
    for text in notes:
        plain = [bool(line) and not line.startswith(("|", "#", "-", "*")) for line in text.split("\n")]
        assert not any(first and second for first, second in zip(plain, plain[1:], strict=False))


@each
def test_nothing_overlaps(name):
    workflow = ui_file(name)
    boxes = [(f"{node['type']} {node['id']}", node["pos"][0], node["pos"][1] - 30, node["pos"][0] + node["size"][0],
              node["pos"][1] + node["size"][1]) for node in nodes_of(workflow, notes=True)]
    groups = [(group["title"], group["bounding"][0], group["bounding"][1],
               group["bounding"][0] + group["bounding"][2], group["bounding"][1] + group["bounding"][3])
              for group in workflow["groups"]]
    assert overlaps(boxes) == []
    assert overlaps(groups) == []
    inside = [box for box in boxes if any(
        left <= box[1] and top <= box[2] and box[3] <= right and box[4] <= bottom
        for _, left, top, right, bottom in groups)]
    assert len(inside) == len(nodes_of(workflow))


def overlaps(boxes: list[tuple]) -> list[tuple[str, str]]:
    return [(a[0], b[0]) for index, a in enumerate(boxes) for b in boxes[:index]
            if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]]


@each
def test_links_run_from_left_to_right(name):
    workflow = ui_file(name)
    left = {node["id"]: node["pos"][0] for node in workflow["nodes"]}
    assert [link for link in workflow["links"] if left[link[1]] > left[link[3]]] == []


@each
def test_no_local_paths(name):
    for path in (generate.WORKFLOWS / f"{name}.json", generate.WORKFLOWS / "api" / f"{name}.json"):
        assert re.findall(r"(?<![\w:/.])/(?:home|root|tmp|work|mnt|Users)\b|[A-Z]:\\\\|file://|\\\\\\\\",
                          path.read_text(encoding="utf-8")) == []
    for node in api_file(name).values():
        for value in node["inputs"].values():
            assert not (isinstance(value, str) and value.startswith(("/", "~", "..")))


@each
def test_prompt_describes_a_video(name):
    prompt = api_file(name)
    positive, negative = [node["inputs"]["text"] for node in prompt.values() if node["class_type"] == "CLIPTextEncode"
                          and prompt[node["inputs"]["clip"][0]]["class_type"] == "CLIPLoader"]
    assert 80 <= len(positive.split()) <= 140
    assert negative == ""


def test_every_node_of_the_pack_is_shown(object_info):
    used = {node["type"] for name in NAMES for node in nodes_of(ui_file(name))}
    assert {name for name in object_info if name.startswith("SCAIL2") and object_info[name]["python_module"].endswith(
        "scail2")} <= used


@each
def test_api_form_fits_the_server(name, object_info):
    assert checks.problems(api_file(name), object_info) == []


def test_switched_on_groups_fit_the_server(object_info):
    for make in definitions.ALL:
        prompt = api(make(), core_nodes.described(object_info), muted=True)
        assert checks.problems(prompt, object_info) == []


@each
def test_both_forms_are_the_same_graph(name, object_info):
    workflow, prompt, info = ui_file(name), api_file(name), core_nodes.described(object_info)
    active = {str(node["id"]): node for node in nodes_of(workflow) if node["mode"] == 0}
    assert set(active) == set(prompt)
    links = {link[0]: link for link in workflow["links"]}
    for key, node in active.items():
        assert node["type"] == prompt[key]["class_type"]
        values = dict(ui_values(node, info[node["type"]]))
        if node["type"] == "SaveVideo":
            values["format.codec"] = values["codec"]
        for slot in node["inputs"]:
            if slot["link"] is not None:
                _, source, output, target, _, _ = links[slot["link"]]
                assert target == node["id"]
                values[slot["name"]] = [str(source), output]
        assert values == prompt[key]["inputs"]


def ui_values(node: dict, info: dict):
    """(input name, value): the values without names, in order, which upload buttons and seeds lengthen by one."""
    values = iter(node["widgets_values"])
    for name, spec in widgets(info).items():
        yield name, next(values)
        options = spec[1] if len(spec) > 1 else {}
        if options.get("control_after_generate") or options.get("image_upload") or options.get("video_upload"):
            next(values)
    assert list(values) == []


def test_files_are_what_the_generator_makes(object_info):
    for path, text in generate.build(object_info).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run tests/workflows/generate.py"


def test_checks_find_what_the_server_lets_pass(object_info):
    prompt = api_file("animation")
    (sample,) = [key for key, node in prompt.items() if node["class_type"] == "SCAIL2SampleVideo"]
    (check,) = [key for key, node in prompt.items() if node["class_type"] == "SCAIL2Preflight"]
    (shown,) = [key for key, node in prompt.items() if node["inputs"].get("source") == [check, 0]]
    del prompt[check], prompt[shown]
    inputs = prompt[sample]["inputs"]
    inputs |= {"sede": 1, "solver": "heun", "segment_length": 80, "guidance": 0.0, "vae": inputs["model"],
               "driving": 5, "steps": "40"}
    del inputs["identities"]
    del prompt[inputs["positive"][0]]
    found = [problem.removeprefix(f"{sample} SCAIL2SampleVideo") for problem in checks.problems(prompt, object_info)]
    wrong = ("identities is missing", "sede: no such", "solver: 'heun'", "segment_length: 80 is not 5",
             "guidance: 0.0 is not in", "vae: takes VAE", "driving: 5 where a link", "steps: '40' is not INT",
             "positive: linked to")
    assert len(found) == len(wrong)
    for expected in wrong:
        assert any(expected in problem for problem in found), expected


def test_checks_know_the_names_of_a_growing_inputs_parts(object_info):
    prompt = api_file("animation")
    (bind,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "SCAIL2Identities"]
    (picture, *_) = [key for key, node in prompt.items() if node["class_type"] == "LoadImage"]
    bind["more_driving_masks.person_2"] = [picture, 1]
    assert checks.problems(prompt, object_info) == []
    bind |= {"more_driving_masks.person_2": [picture, 0], "more_driving_masks.person_7": [picture, 1]}
    wrong_type, unknown = checks.problems(prompt, object_info)
    assert "takes MASK, not IMAGE" in wrong_type
    assert "person_7: no such input" in unknown
