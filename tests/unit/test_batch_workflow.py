"""Rows in their workflows: inputs by name, values in their kind, files by content, and what a fingerprint says."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from manifests import FILES, REPLACEMENT, WORKFLOWS, changed_workflow, write_inputs, write_picture

from scail_model.batch import flags
from scail_model.batch.manifest import Row
from scail_model.batch.row_values import applied
from scail_model.batch.workflow import fingerprint, graph_of, input_files, sha256_of
from scail_model.headless.options import add_generate


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def row_of(inputs: Path, workflow: Path | str | None = "replacement.json", /, smaller=None, output="", **values) -> Row:
    given = values if workflow is None else {**FILES, **values}
    return Row("anna", "m.yaml, line 3", None if workflow is None else inputs / workflow, given, smaller or {}, output,
               inputs)


def test_values_are_put_in_and_everything_else_stays(inputs):
    graph = graph_of(row_of(inputs, **{"SCAIL2SampleVideo.seed": "7", '"Prompt".text': "A man walks.",
                                       "SCAIL2SampleVideo.guidance": 4, "SCAIL2Identities.fill_holes": "TRUE"}))
    before = json.loads(REPLACEMENT.read_text(encoding="utf-8"))
    assert graph.prompt["20"]["inputs"]["seed"] == 7
    assert graph.prompt["20"]["inputs"]["guidance"] == 4.0
    assert graph.prompt["11"]["inputs"]["text"] == "A man walks."
    assert graph.prompt["13"]["inputs"]["fill_holes"] is True
    assert (graph.sampler, graph.output, graph.seed) == ("20", "21", 7)
    changed = {(node, name) for node, about in graph.prompt.items() for name, value in about["inputs"].items()
               if value != before[node]["inputs"][name]}
    assert changed == {("20", "seed"), ("20", "guidance"), ("11", "text"), ("13", "fill_holes"), ("7", "image"),
                       ("8", "image"), ("9", "file"), ("10", "file"), ("21", "filename_prefix")}


def test_a_model_uses_all_gpus_of_its_row(inputs):
    row = row_of(inputs)
    loader = next(node for node, about in graph_of(row).prompt.items() if about["class_type"] == "SCAIL2LoadModel")
    before = graph_of(row).prompt[loader]["inputs"].get("gpus")
    assert before in (None, "1")
    assert graph_of(row, gpus=1).prompt[loader]["inputs"].get("gpus") == before
    assert graph_of(row, gpus=2).prompt[loader]["inputs"]["gpus"] == "all"
    workflow = json.loads(REPLACEMENT.read_text(encoding="utf-8"))
    workflow[loader]["inputs"]["gpus"] = "4"
    (inputs / "four.json").write_text(json.dumps(workflow), encoding="utf-8")
    assert graph_of(row_of(inputs, "four.json"), gpus=8).prompt[loader]["inputs"]["gpus"] == "4"
    assert fingerprint(row) == fingerprint(row_of(inputs, "four.json"))
    workflow[loader]["inputs"]["gpus"] = 1  # as a program may write it
    (inputs / "one.json").write_text(json.dumps(workflow), encoding="utf-8")
    assert graph_of(row_of(inputs, "one.json"), gpus=2).prompt[loader]["inputs"]["gpus"] == "all"


def test_files_are_named_after_their_content(inputs, tmp_path):
    files = {file.address: file for file in graph_of(row_of(inputs)).files}
    assert files.keys() == FILES.keys()
    one = files["Reference picture.image"]
    assert one.name == f"anna-{one.sha256[:16]}.png"
    assert one.sha256 == sha256_of(inputs / "anna.png")
    assert one.bytes == (inputs / "anna.png").stat().st_size
    write_picture(tmp_path / "anna.png", seed=5)
    other = row_of(inputs, **{"Reference picture.image": str(tmp_path / "anna.png")})
    assert graph_of(other).prompt["7"]["inputs"]["image"] != one.name


def test_no_two_rows_save_under_one_name(inputs):
    first = row_of(inputs)
    second = replace(first, id="boris")
    names = [graph_of(row).prompt["21"]["inputs"]["filename_prefix"] for row in (first, second)]
    assert names == ["rows/anna/scail2_replacement", "rows/boris/scail2_replacement"]


def test_a_name_that_is_connected_is_of_the_row_too(inputs):
    path = changed_workflow(inputs, "named.json", lambda nodes: (
        nodes.update({"50": {"class_type": "PrimitiveString", "inputs": {"value": "a/b"}}}),
        nodes["21"]["inputs"].update(filename_prefix=["50", 0])))
    assert graph_of(row_of(inputs, path.name)).prompt["21"]["inputs"]["filename_prefix"] == "rows/anna/video"


def test_a_workflow_that_waits_for_itself(inputs):
    path = changed_workflow(inputs, "circle.json", lambda nodes: nodes["20"]["inputs"].update(model=["20", 0]))
    fault, = applied(row_of(inputs, path.name)).faults
    assert 'connects "Sample SCAIL-2 Video" in a circle' in fault


def test_a_path_of_another_pack_stays_a_path(inputs):
    path = changed_workflow(inputs, "sound.json", lambda nodes: nodes.update({
        "50": {"class_type": "VHS_LoadAudio", "inputs": {"audio_file": "input/x.wav"}, "_meta": {"title": "Sound"}}}))
    graph = graph_of(row_of(inputs, path.name, **{"Sound.audio_file": "dance.mp4"}))
    assert graph.prompt["50"]["inputs"]["audio_file"] == str(inputs / "dance.mp4")


def test_a_loader_that_leads_nowhere_needs_no_file(inputs):
    path = changed_workflow(inputs, "left.json", lambda nodes: nodes.update({
        "50": {"class_type": "LoadVideo", "inputs": {"file": "old.mp4"}, "_meta": {"title": "Old"}},
        "51": {"class_type": "GetVideoComponents", "inputs": {"video": ["50", 0]}},
        "52": {"class_type": "ImageScale", "inputs": {"image": ["51", 0]}}}))
    assert not applied(row_of(inputs, path.name)).faults
    shown = changed_workflow(inputs, "shown.json", lambda nodes: nodes.update({
        **json.loads(path.read_text()), "53": {"class_type": "PreviewImage", "inputs": {"images": ["52", 0]}}}))
    fault, = applied(row_of(inputs, shown.name)).faults
    assert "Old.file" in fault or '"Old".file' in fault


def test_a_retry_may_save_tracks_again(inputs):
    workflow = WORKFLOWS / "api" / "sam3_several_people.json"
    values = {"LoadImage.image": "anna.png", "LoadVideo.file": "dance.mp4"}
    row = Row("anna", "", workflow, values, {}, "", inputs)
    assert graph_of(row).prompt["17"]["inputs"]["name"].startswith("anna/")
    assert graph_of(row).prompt["17"]["inputs"]["overwrite"] is True
    named = replace(row, values={**values, "SCAIL2SaveTracks.name": "crowd", "SCAIL2SaveTracks.overwrite": False})
    assert graph_of(named).prompt["17"]["inputs"]["name"] == "crowd"
    assert graph_of(named).prompt["17"]["inputs"]["overwrite"] is False


@pytest.mark.parametrize("workflow", sorted(path.name for path in (WORKFLOWS / "api").glob("*.json")))
def test_every_workflow_file_can_be_a_row(inputs, workflow):
    nodes = json.loads((WORKFLOWS / "api" / workflow).read_text(encoding="utf-8"))
    values = {}
    for about in nodes.values():
        title = f'"{about["_meta"]["title"]}"'
        if about["class_type"] == "LoadImage":
            values[f"{title}.image"] = "anna.png"
        elif about["class_type"] == "LoadVideo":
            values[f"{title}.file"] = "dance.mp4"
    graph = graph_of(Row("anna", "", WORKFLOWS / "api" / workflow, values, {}, "", inputs))
    assert graph.prompt[graph.output]["class_type"] in ("SaveVideo", "SCAIL2PastePerson")
    assert graph.seed == 42
    assert (graph.sampler is None) == (workflow == "ksampler.json")


def test_smaller_values_only_when_asked(inputs):
    row = row_of(inputs, smaller={"SCAIL2SampleVideo.segment_length": 33})
    lengths = [graph_of(row, smaller=small).prompt["20"]["inputs"]["segment_length"] for small in (False, True)]
    assert lengths == [81, 33]


def test_a_setting_that_an_older_file_does_not_name(inputs, tmp_path):
    changed_workflow(inputs, "older.json", lambda nodes: nodes["20"]["inputs"].pop("plate_grow"))
    graph = graph_of(row_of(inputs, "older.json", **{"SCAIL2SampleVideo.plate_grow": "12"}))
    assert graph.prompt["20"]["inputs"]["plate_grow"] == 12


REFUSED = [
    ("a class that is there twice", {"LoadImage.image": "anna.png"}, 'LoadImage.image fits 2 nodes of the workflow: '
     '"Reference picture".image, "Reference mask".image: write the one that you mean.'),
    ("a number of a node", {"20.seed": 5}, "20.seed names no node of the workflow"),
    ("another case", {"scail2samplevideo.seed": 5}, "is it SCAIL2SampleVideo?"),
    ("an input that is none", {"SCAIL2SampleVideo.sead": 5}, "is it seed?"),
    ("a class in quotes", {'"SCAIL2SampleVideo".seed': 5}, "leave the quotes out to mean the class"),
    ("a connection", {"SCAIL2SampleVideo.driving": "x.mp4"}, 'set "Driving video".file instead'),
    ("one input by two names", {'"Sample SCAIL-2 Video".seed': 5, "SCAIL2SampleVideo.seed": 6}, "which is set twice"),
    ("a text for a number", {"SCAIL2SampleVideo.steps": "many"}, 'is "many", but it must be a number'),
    ("a comma for a point", {"SCAIL2SampleVideo.guidance": "4,5"}, "with a point for the fraction"),
    ("a truth for a number", {"SCAIL2SampleVideo.steps": True}, "is True, but it must be a number"),
    ("a fraction of a step", {"SCAIL2SampleVideo.steps": 7.5}, "is 7.5, but it must be a whole number"),
    ("a seed below zero", {"SCAIL2SampleVideo.seed": "-1"}, "is -1, but a seed is a whole number"),
    ("a seed of 65 bits", {"SCAIL2SampleVideo.seed": 2**64}, "a seed is a whole number from 0"),
    ("a fraction for a text", {"Prompt.text": 1.5}, "is 1.5, but the workflow has a text there"),
    ("a list", {"Prompt.text": ["4", 0]}, "is a list, but it must be a plain value"),
    ("a number for a truth", {"SCAIL2Identities.fill_holes": 1}, "is 1, but it must be true or false"),
    ("a file that is missing", {"Driving video.file": "gone.mp4"}, "is gone.mp4, which does not exist in"),
    ("a folder", {"Driving video.file": "."}, "which is a folder"),
    ("no file", {"Driving video.file": ""}, "is empty"),
    ("a file in ComfyUI's output folder", {"Driving video.file": "x.mp4 [output]"}, "in a folder of ComfyUI's own"),
    ("a flag", {"--image": "anna.png"}, "is a flag of the command line, but the row has a workflow"),
]


@pytest.mark.parametrize(("values", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_with_a_sentence(inputs, values, text):
    row = row_of(inputs, **values)
    with pytest.raises(ValueError, match=r"[.?]$") as refusal:
        graph_of(row)
    assert text in str(refusal.value)


def test_a_path_of_another_system(inputs):
    (inputs / "clips").mkdir(exist_ok=True)
    shutil.copy(inputs / "dance.mp4", inputs / "clips")
    fault, = applied(row_of(inputs, **{"Driving video.file": "clips\\dance.mp4"})).faults
    assert "write clips/dance.mp4." in fault


def test_files_that_the_workflow_names_and_nobody_sets(inputs):
    row = row_of(inputs)
    without = replace(row, values={key: value for key, value in row.values.items() if "mask" not in key})
    faults = applied(without).faults
    assert len(faults) == 2
    assert all("in the workflow itself, and the row does not set it" in fault for fault in faults)


WORKFLOW_FAULTS = [
    ("missing", None, "does not exist"), ("a folder", "folder", "is a folder"), ("broken", b'{"1": ', "is not JSON"),
    ("of the page", (WORKFLOWS / "replacement.json").read_bytes(), "in the format of ComfyUI's page"),
    ("a request", b'{"prompt": {}, "client_id": ""}', "a whole request to /prompt"), ("empty", b"{}", "has no nodes"),
    ("a list", b"[]", "has no nodes"), ("a text file", b"\xff\xfe\x00", "is not a text in UTF-8"),
    ("nodes without a class", b'{"1": {"inputs": {}}}', "node 1 has no class_type"),
    ("a link to nowhere", b'{"1": {"class_type": "SaveVideo", "inputs": {"video": ["9", 0]}}}', "to node 9"),
    ("no saving node", b'{"1": {"class_type": "LoadVideo", "inputs": {}}}', "no node that is known to save a video"),
]


@pytest.mark.parametrize(("data", "text"), [case[1:] for case in WORKFLOW_FAULTS],
                         ids=[case[0] for case in WORKFLOW_FAULTS])
def test_workflows_that_cannot_be_run(tmp_path, data, text):
    if data == "folder":
        (tmp_path / "w.json").mkdir()
    elif data is not None:
        (tmp_path / "w.json").write_bytes(data)
    faults = applied(Row("a", "", tmp_path / "w.json", {}, {}, "", tmp_path)).faults
    assert len(faults) == 1
    assert text in faults[0]


def test_a_second_saving_node_needs_output(inputs):
    def second(nodes):
        nodes["99"] = {"class_type": "SaveVideo", "_meta": {"title": "Draft"},
                       "inputs": {"video": ["20", 0], "filename_prefix": "d"}}

    changed_workflow(inputs, "two.json", second)
    fault, = applied(row_of(inputs, "two.json")).faults
    assert 'saves 2 videos ("Save Video", "Draft")' in fault
    assert graph_of(row_of(inputs, "two.json", output="Draft")).output == "99"
    assert "saves no video" in applied(row_of(inputs, "two.json", output="Report")).faults[0]
    assert "no node of this title" in applied(row_of(inputs, "two.json", output="Daft")).faults[0]


def test_equal_titles_cannot_be_told_apart(inputs):
    changed_workflow(inputs, "same.json", lambda nodes: nodes["12"]["_meta"].update(title="Prompt"))
    fault, = applied(row_of(inputs, "same.json", **{"Prompt.text": "x"})).faults
    assert "a title of its own" in fault


def test_the_fingerprint_is_of_content(inputs, tmp_path):
    usual = fingerprint(row_of(inputs))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(inputs, elsewhere)
    assert fingerprint(row_of(elsewhere)) == usual, "not of paths"
    nodes = json.loads(REPLACEMENT.read_text(encoding="utf-8"))
    nodes["22"]["_meta"]["title"] = "What was made"
    (elsewhere / "replacement.json").write_text(json.dumps(nodes, indent=7), encoding="utf-8")
    assert fingerprint(row_of(elsewhere)) == usual, "not of how the file is written, nor of titles"
    assert fingerprint(replace(row_of(inputs), id="b", place="x")) == usual, "not of the row's name"
    assert fingerprint(row_of(inputs, **{"SCAIL2SampleVideo.seed": 42})) == usual, "its own value is no change"
    assert fingerprint(row_of(inputs, **{"SCAIL2SampleVideo.seed": 43})) != usual
    assert fingerprint(row_of(inputs, **{"Reference picture.image": "boris.png"})) != usual
    assert fingerprint(row_of(inputs, smaller={"SCAIL2SampleVideo.segment_length": 33})) != usual
    write_picture(elsewhere / "anna.png", seed=9)
    assert fingerprint(row_of(elsewhere)) != usual, "of the picture's content"


def flags_row(inputs: Path, **values) -> Row:
    return row_of(inputs, None, **{f"--{name}": value for name, value in values.items()})


def test_words_of_the_command_line(inputs):
    row = flags_row(inputs, image="anna.png", pose="dance.mp4", replace_flag=True, draft="false", prompt="-a man",
                    additional_ref_image=["boris.png", "anna.png"], lora_alpha="[0.5, 1]", offload_model=True,
                    plan='[{"segments": "1", "seed": 3}]')
    assert flags.words(row) == [
        f"--image={inputs / 'anna.png'}", f"--pose={inputs / 'dance.mp4'}", "--replace_flag", "--prompt=-a man",
        "--additional_ref_image", str(inputs / "boris.png"), str(inputs / "anna.png"), "--lora_alpha", "0.5", "1",
        "--offload_model=true", '--plan=[{"segments": "1", "seed": 3}]']
    assert [file.address for file in input_files(row)] == [
        "--image", "--pose", "--additional_ref_image 1", "--additional_ref_image 2"]


def test_the_fingerprint_of_a_command_line(inputs, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(inputs, elsewhere)
    usual = fingerprint(flags_row(inputs, image="anna.png", pose="dance.mp4", draft=False))
    assert fingerprint(flags_row(elsewhere, image="anna.png", pose="dance.mp4")) == usual
    assert fingerprint(flags_row(inputs, image="boris.png", pose="dance.mp4")) != usual
    assert fingerprint(flags_row(inputs, image="anna.png", pose="dance.mp4", draft=True)) != usual


def test_the_fingerprint_of_a_command_line_is_that_of_its_table(inputs):
    usual = {"image": "anna.png", "pose": "dance.mp4", "base_seed": 7, "guidance": 4, "lora_alpha": [0.5],
             "offload_model": True}
    cells = {**usual, "base_seed": "7.0", "guidance": "4.0", "lora_alpha": "[0.5]", "offload_model": "TRUE".lower()}
    assert fingerprint(flags_row(inputs, **usual)) == fingerprint(flags_row(inputs, **cells))
    assert fingerprint(flags_row(inputs, **{**usual, "base_seed": 2**63})) != fingerprint(
        flags_row(inputs, **{**usual, "base_seed": 2**63 + 1}))


def test_what_is_said_of_flags_is_what_they_are():
    parser = argparse.ArgumentParser(add_help=False)
    add_generate(parser)
    actions = {name: action for action in parser._actions for name in action.option_strings}
    paths = {name for name, action in actions.items() if action.metavar in ("FILE", "FOLDER")}
    assert paths - flags.OF_THE_BATCH == flags.FILES | flags.MODELS
    assert {name for name, action in actions.items() if action.nargs == "+"} == flags.LISTS
    assert {name for name, action in actions.items() if action.type is int} == flags.WHOLE
    switches = {name for name, action in actions.items() if isinstance(action, argparse._StoreTrueAction)}
    assert switches - flags.OF_THE_BATCH == flags.SWITCHES
