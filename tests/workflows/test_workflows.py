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
FOLDERS = {"diffusion_models", "text_encoders", "clip_vision", "vae", "loras", "checkpoints", "detection"}
MODEL_INPUTS = {"SCAIL2LoadModel": "model_name", "CLIPLoader": "clip_name", "CLIPVisionLoader": "clip_name",
                "VAELoader": "vae_name", "LoraLoaderModelOnly": "lora_name", "SCAIL2LoadLora": "lora_name",
                "CheckpointLoaderSimple": "ckpt_name", "UNETLoader": "unet_name", "SAM3DBody_Loader": "model_file"}


def ui_file(name: str) -> dict:
    return json.loads((generate.WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def api_file(name: str) -> dict:
    return json.loads((generate.WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def graphs_of(workflow: dict) -> list[dict]:
    """The graph itself, and those of its subgraphs."""
    return [workflow, *workflow.get("definitions", {"subgraphs": []})["subgraphs"]]


def nodes_of(workflow: dict, *, notes: bool = False) -> list[dict]:
    """Nodes that a server knows, those in subgraphs too."""
    hosts = {graph["id"] for graph in graphs_of(workflow)}
    return [node for graph in graphs_of(workflow) for node in graph["nodes"]
            if node["type"] not in hosts and (notes or node["type"] != "MarkdownNote")]


def links_of(graph: dict) -> list[tuple]:
    """id, origin, its slot, target, its slot, type."""
    return [tuple(link.values()) if isinstance(link, dict) else tuple(link) for link in graph["links"]]


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
    assert {"id", "revision", "last_node_id", "last_link_id", "nodes", "links", "groups", "config"} <= set(workflow)
    ids = [node["id"] for graph in graphs_of(workflow) for node in graph["nodes"]]
    links = [link[0] for graph in graphs_of(workflow) for link in links_of(graph)]
    groups = [group["id"] for graph in graphs_of(workflow) for group in graph["groups"]]
    # the frontend renames what occurs twice in a file, subgraphs included
    assert all(len(set(numbers)) == len(numbers) for numbers in (ids, links, groups))
    assert workflow["last_node_id"] == max(ids)
    assert workflow["last_link_id"] == max(links)
    assert len({ui_file(other)["id"] for other in NAMES}) == len(NAMES)


@each
def test_first_workflows_open_as_a_form(name):
    workflow = ui_file(name)
    nodes = {str(node["id"]): node for node in nodes_of(workflow)}
    if name not in ("animate_a_picture", "replace_a_person"):
        assert workflow["extra"] == {}
        return
    form = workflow["extra"]["linearData"]
    asked = [(nodes[node]["type"], widget) for node, widget in form["inputs"]]
    word = ("PrimitiveString", "value")
    assert asked == [("LoadImage", "image"), ("LoadVideo", "file"), word, word, ("CLIPTextEncode", "text"),
                     ("SCAIL2ReframeReference", "width"), ("SCAIL2ReframeReference", "height"),
                     ("Video Slice", "duration"), *[("SCAIL2Preflight", "plate")] * (name == "replace_a_person")]
    assert [nodes[node]["type"] for node in form["outputs"]] == ["SaveVideo"]
    assert workflow["extra"]["linearMode"] is True
    outside = [node["type"] for node in workflow["nodes"] if str(node["id"]) in nodes]
    assert sorted(outside) == ["LoadImage", "LoadVideo", "PreviewAny", "PreviewImage", "SaveVideo"]


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
    assert {node["id"] for node in loaders} == {node["id"] for node in nodes_of(workflow)
                                                if "models" in node["properties"]}
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
        plain = [bool(line) and not line.startswith(("|", "#", "-", "*", *"12345")) for line in text.split("\n")]
        assert not any(first and second for first, second in zip(plain, plain[1:], strict=False))


@each
def test_nothing_overlaps(name):
    for graph in graphs_of(ui_file(name)):
        boxes = [(f"{node['type']} {node['id']}", node["pos"][0], node["pos"][1] - 30,
                  node["pos"][0] + node["size"][0], node["pos"][1] + node["size"][1]) for node in graph["nodes"]]
        groups = [(group["title"], group["bounding"][0], group["bounding"][1],
                   group["bounding"][0] + group["bounding"][2], group["bounding"][1] + group["bounding"][3])
                  for group in graph["groups"]]
        assert overlaps(boxes) == []
        assert overlaps(groups) == []
        inside = [node["type"] for node, box in zip(graph["nodes"], boxes, strict=True) if any(
            left <= box[1] and top <= box[2] and box[3] <= right and box[4] <= bottom
            for _, left, top, right, bottom in groups)]
        assert len(inside) == len([node for node in graph["nodes"] if node["type"] != "MarkdownNote"
                                   and len(node["type"]) != len(graph["id"])])


def overlaps(boxes: list[tuple]) -> list[tuple[str, str]]:
    return [(a[0], b[0]) for index, a in enumerate(boxes) for b in boxes[:index]
            if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]]


@each
def test_links_run_from_left_to_right(name):
    for graph in graphs_of(ui_file(name)):
        left = {node["id"]: node["pos"][0] for node in graph["nodes"]}
        for end in ("inputNode", "outputNode") if "inputNode" in graph else ():
            left[graph[end]["id"]] = graph[end]["bounding"][0]
        assert [link for link in links_of(graph) if left[link[1]] > left[link[3]]] == []


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
    used |= {"SCAIL2Doctor"}  # needs no graph
    used |= {f"SCAIL2{name}Prompt" for name in ("Write", "AskFor", "Check")}  # need a language model of one's choice
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
    nodes = {address: (node, value) for address, node, value in walls(workflow) if node["mode"] == 0}
    assert set(nodes) == set(prompt)
    for key, (node, value) in nodes.items():
        assert node["type"] == prompt[key]["class_type"]
        values = dict(ui_values(node, info[node["type"]]))
        if node["type"] == "SaveVideo":
            values["format.codec"] = values["codec"]
        values |= {slot["name"]: value(slot["link"]) for slot in node["inputs"] if slot["link"] is not None}
        assert values == prompt[key]["inputs"]


def walls(workflow: dict):
    """(address, node, function of a link's number -> [address, slot] or a value) of the nodes that a server knows:
    links are followed through the walls of subgraphs."""
    inner = {graph["id"]: graph for graph in graphs_of(workflow)[1:]}
    outside = {link[0]: link for link in links_of(workflow)}
    hosts = {node["id"]: node for node in workflow["nodes"] if node["type"] in inner}

    def from_outside(number: int) -> list:
        _, origin, slot, *_ = outside[number]
        if origin not in hosts:
            return [str(origin), slot]
        graph = inner[hosts[origin]["type"]]
        ((_, node, output, *_),) = [link for link in links_of(graph) if link[3:5] == (-20, slot)]
        return [f"{origin}:{node}", output]

    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        if node["id"] not in hosts:
            yield str(node["id"]), node, from_outside
            continue
        links = {link[0]: link for link in links_of(inner[node["type"]])}
        widgets_of = iter(node["widgets_values"])
        given = [next(widgets_of) if "widget" in slot else from_outside(slot["link"]) for slot in node["inputs"]]

        def from_inside(number: int, host=node["id"], links=links, given=given):
            _, origin, slot, *_ = links[number]
            return given[slot] if origin == -10 else [f"{host}:{origin}", slot]

        for one in inner[node["type"]]["nodes"]:
            yield f"{node['id']}:{one['id']}", one, from_inside


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
