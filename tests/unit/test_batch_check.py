"""`scail2 batch check`: everything that is wrong in any row, before anything is loaded, and what all rows need."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
import torch
from manifests import FILES, WORKFLOWS, changed_workflow, write_inputs, write_picture, write_video
from PIL import Image

from scail_model.batch.checks import check_rows
from scail_model.batch.costs import CARDS, find_card
from scail_model.batch.manifest import read_manifest
from scail_model.batch.model_folders import ModelFolders
from scail_model.headless.cli import main
from scail_model.preflight import budget


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = write_inputs(tmp_path_factory.mktemp("inputs"))
    (folder / "empty.png").write_bytes(b"")
    write_picture(folder / "J\u00e4ger.png")
    Image.new("L", (48, 32)).save(folder / "two.gif", save_all=True, append_images=[Image.new("L", (48, 32), 200)])
    (folder / "text.png").write_text("no picture")
    write_picture(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:3000])
    video = (folder / "walk.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(video[:len(video) // 2])
    write_video(folder / "started.mp4", 60, movflags="faststart")
    (folder / "started.mp4").write_bytes((folder / "started.mp4").read_bytes()[:-1500])
    (folder / "folder.mp4").mkdir()
    (folder / "page.json").write_bytes((Path(__file__).parents[2] / "workflows" / "replacement.json").read_bytes())
    (folder / "broken.json").write_text('{"1": {')
    changed_workflow(folder, "sound.json", lambda nodes: nodes.update({"98": {
        "class_type": "LoadAudio", "inputs": {"audio": "x.wav"}, "_meta": {"title": "Sound"}}}))
    changed_workflow(folder, "two.json", lambda nodes: nodes.update({"99": {
        "class_type": "SaveVideo", "inputs": {"video": ["20", 0], "filename_prefix": "d"}}}))
    return folder


def write(folder: Path, rows: list[dict], name: str = "m.json", **defaults) -> str:
    (folder / name).write_text(json.dumps({"defaults": {"workflow": "replacement.json", **FILES, **defaults},
                                           "rows": rows}))
    return str(folder / name)


MISTAKES = [
    ({"id": "bad id"}, "cannot name a folder"), ({"id": "twice"}, None), ({"id": "twice"}, 'the id "twice" is that of'),
    ({"colour": "red"}, 'the key "colour"'), ({"Prompt.txt": "x"}, "is it text?"),
    ({"Nowhere.image": "x"}, "names no node"), ({"LoadImage.image": "anna.png"}, "fits 2 nodes"),
    ({"SCAIL2SampleVideo.driving": "x"}, "is connected to"), ({"SCAIL2SampleVideo.steps": "many"}, "must be a number"),
    ({"SCAIL2SampleVideo.steps": 0}, "steps is 0, but it must be a whole number from 1 to 1000"),
    ({"SCAIL2LoadModel.gpus": "two"}, 'gpus is "two": use a number of GPUs from 1, or "all".'),
    ({"SCAIL2SampleVideo.guidance": 99}, "guidance is 99.0, but it must be 1.0 to 30.0"),
    ({"SCAIL2SampleVideo.codec": "mpeg"}, 'codec is "mpeg", but it must be one of'),
    ({"SCAIL2SampleVideo.seed": -1}, "a seed is a whole number from 0"),
    ({"SCAIL2SampleVideo.shift": float("nan")}, "SCAIL2SampleVideo.shift is nan"),
    ({"SCAIL2SampleVideo.driving_start": 0.8, "SCAIL2SampleVideo.driving_end": 0.2}, "driving_start is 0.8"),
    ({"SCAIL2SampleVideo.segment_length": 80}, "take 77 or 81"), ({"SCAIL2SampleVideo.overlap": 81}, "overlap is 81"),
    ({"SCAIL2EncodeReference.width": 900}, "use 896 or 928"),
    ({"SCAIL2SampleVideo.plan": '[{"segments": "7", "seed": 3}]'}, "Entry 1 of the plan names the segments 7"),
    ({"SCAIL2SampleVideo.plan": "{"}, "plan"), ({"SCAIL2SampleVideo.remake": "x"}, "remake"),
    ({"SCAIL2SampleVideo.scene_cuts": "500"}, "scene cut at frame 500"),
    ({"Driving video.file": "gone.mp4"}, "does not exist"), ({"Driving video.file": "folder.mp4"}, "which is a folder"),
    ({"Driving video.file": "cut.mp4"}, "cannot be opened as a video"),
    ({"Driving video.file": "started.mp4"}, "of 60 frames: copy or export it again"),
    ({"Driving video.file": "anna.png"}, "but its mask has 9"),
    ({"Driving mask.file": "walk_mask.mp4"}, "has 9 frames, but its mask has 100"),
    ({"Reference picture.image": "cut.png"}, "cannot be read as a picture"),
    ({"Reference picture.image": "text.png"}, "cannot be read as a picture"),
    ({"Reference picture.image": "empty.png"}, "which is empty"),
    ({"workflow": "page.json"}, "the format of ComfyUI's page"), ({"workflow": "broken.json"}, "is not JSON"),
    ({"workflow": "gone.json"}, "does not exist"), ({"workflow": "two.json"}, "saves 2 videos"),
    ({"workflow": "sound.json", "Sound.audio": "walk.mp4"}, "Sound.audio is walk.mp4, which has no sound"),
    ({"output": "Report"}, "saves no video"), ({"smaller": [1]}, "smaller is [1]"),
    ({"smaller": {"SCAIL2SampleVideo.segment_length": 60}}, "With its smaller values: segment_length is 60"),
    ({"Reference picture.image": "A woman with short red hair dances. " * 20}, "..., which does not exist"),
    ({"Reference picture.image": '"boris.png"'}, 'write boris.png.'),
    ({"Reference picture.image": ".\\boris.png"}, "write ./boris.png."),
    ({"Reference picture.image": "Boris.PNG"}, "boris.png there differs only in upper and lower case"),
    ({"Reference picture.image": "Ja\u0308ger.png"}, "J\u00e4ger.png there looks the same, but is written with other"),
    ({"Reference picture.image": ""}, "Reference picture.image is empty, but a file is needed"),
    ({"SCAIL2SampleVideo.seed": "1.23457E+14"}, "of which a spreadsheet keeps the first digits only"),
    ({"--image": "anna.png"}, "but the row has a workflow"), ({"id": None}, "there is no id"),
]


def test_many_mistakes_give_as_many_sentences_within_seconds(inputs, capsys):
    rows = [{"id": f"r{index}", **values} for index, (values, _) in enumerate(MISTAKES)]
    path = write(inputs, rows)
    start = time.process_time()
    assert main(["batch", "check", path]) == 1
    seconds = time.process_time() - start
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    texts = [text for _, text in MISTAKES if text]
    for text in texts:
        assert any(text in line for line in errors), text
    assert len(errors) == len(texts), "each once"
    assert all(line.startswith("error: m.json, row ") and line.endswith((".", "?")) for line in errors)
    assert seconds < 5


def command_line(models: Path, **values) -> dict:
    return {"id": "x", "--ckpt_dir": str(models / "encoders"), "--scail_path": str(models / "transformer.safetensors"),
            "--image": "anna.png", "--pose": "walk.mp4", "--whole_picture": True, "--target_w": 64, "--target_h": 32,
            **{f"--{name}": value for name, value in values.items()}}


FLAGS = [
    ({"imag": "x.png"}, "--imag is not a flag of scail2 generate: is it --image?"),
    ({"sample_steps": "many"}, "--sample_steps is many, but it must be a whole number"),
    ({"sample_steps": 0}, "steps is 0 (--sample_steps)"), ({"codec": "mpeg"}, "--codec is mpeg, but it must be one of"),
    ({"save_file": "x.mp4"}, "what a batch gives each row itself"), ({"draft": "perhaps"}, "it is a switch"),
    ({"image": "gone.png"}, "--image is gone.png, which does not exist"), ({"image": "."}, "which is a folder"),
    ({"image": "text.png"}, "cannot be read as a picture"), ({"pose": "cut.mp4"}, "cannot be opened as a video"),
    ({"target_w": 70}, "The width is 70 pixels"), ({"base_seed": 2**65}, "base_seed is"),
    ({"mask_video": "walk_mask.mp4"}, "--whole_picture says that there are no masks"),
    ({"whole_picture": False}, "--mask_image and --mask_video are missing"),
    ({"whole_picture": False, "mask_image": "anna.png", "mask_video": "dance.mp4"}, "but its mask has 9"),
    ({"crop_to_person": 1}, "the mode is animation"),
    ({"ckpt_dir": "gone"}, "--ckpt_dir is gone, which does not exist"),
    ({"scail_path": "anna.png"}, "anna.png"), ({"lora_path": ["anna.png"]}, "anna.png"),
    ({"lora_alpha": "[0.5"}, "which is not a list"), ({"sigmas": "1, x"}, "sigmas"), ({"plan": "{"}, "plan"),
    ({"segment_len": 80}, "take 77 or 81"), ({"image": "A man. " * 60}, "..., which does not exist"),
    ({"image": ["anna.png", "boris.png"]}, "--image is a list, but it takes one value"),
    ({"image": "walk.mp4"}, "--image is walk.mp4, which is a video: save the picture"),
    ({"image": "two.gif"}, "--image is two.gif, which holds 2 pictures: save the picture"),
    ({"image": ""}, "--image is empty, but a file is needed"),
    ({"additional_image": []}, "--additional_image is an empty list"),
]


@pytest.mark.parametrize(("values", "text"), FLAGS, ids=[f"{list(values)[0]} {text[:20]}" for values, text in FLAGS])
def test_rows_of_the_command_line(inputs, models, capsys, values, text):
    (inputs / "flags.json").write_text(json.dumps({"rows": [command_line(models, **values)]}))
    assert main(["batch", "check", str(inputs / "flags.json"), "--json"]) == 1
    errors = json.loads(capsys.readouterr().out)["rows"][0]["errors"]
    assert len(errors) == 1
    assert text in errors[0]


def test_a_row_of_the_command_line_that_is_fine(inputs, models, capsys):
    row = command_line(models, segment_len=41, sample_steps=4)
    row.pop("id")
    (inputs / "fine.json").write_text(json.dumps({"rows": [{"id": "x", **row}, {"id": "y", **row, "--draft": "true"}]}))
    assert main(["batch", "check", str(inputs / "fine.json"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["estimate"]["frames"], row["estimate"]["segments"]) for row in rows] == [(100, 3)] * 2
    assert not any(row["errors"] for row in rows)


def test_all_that_is_missing_from_a_command_line(inputs, capsys):
    (inputs / "missing.json").write_text(json.dumps({"rows": [{"id": "x", "Prompt.text": "y"}]}))
    assert main(["batch", "check", str(inputs / "missing.json"), "--json"]) == 1
    errors = json.loads(capsys.readouterr().out)["rows"][0]["errors"]
    assert errors == ["It has inputs of a workflow (Prompt.text), but no workflow: name one with workflow, or write "
                      "flags."]
    (inputs / "missing.json").write_text(json.dumps({"rows": [{"id": "x", "--draft": True}]}))
    assert main(["batch", "check", str(inputs / "missing.json"), "--json"]) == 1
    errors = json.loads(capsys.readouterr().out)["rows"][0]["errors"]
    assert [error.split()[0] for error in errors] == ["--ckpt_dir", "--image", "--pose"]


def test_a_mistake_in_the_defaults_is_said_once(inputs, capsys):
    path = write(inputs, [{"id": f"r{index}"} for index in range(30)], **{"SCAIL2SampleVideo.steps": 0})
    assert main(["batch", "check", path]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert lines == ["error: m.json, row 1 (r0), row 2 (r1), row 3 (r2) and 27 more rows: steps is 0, but it must be a "
                     "whole number from 1 to 1000: correct it."]


def test_a_mistake_in_an_element_of_cross_is_said_of_that_element(inputs, capsys):
    (inputs / "cross.json").write_text(json.dumps({"defaults": {"workflow": "replacement.json"}, "cross": {
        "who": [{"id": f"c{number}", "Reference picture.image": "anna.png" if number else "gone.png",
                 "Reference mask.image": "anna_mask.png"} for number in range(6)],
        "clips": [{"id": f"k{number}", "Driving video.file": "dance.mp4" if number else "weg.mp4",
                   "Driving mask.file": "dance_mask.mp4"} for number in range(5)]}}))
    assert main(["batch", "check", str(inputs / "cross.json")]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in lines] == ["cross.json, who element 1 (c0) (5 rows)",
                                                       "cross.json, clips element 1 (k0) (6 rows)"]


@pytest.mark.parametrize(("name", "what"), [("walk.mp4", "is a video"), ("two.gif", "holds 2 pictures")])
def test_several_pictures_in_the_place_of_one_are_doubtful(inputs, name, what):
    path = write(inputs, [{"id": "a", "Reference picture.image": name}])
    checked, = check_rows(read_manifest(Path(path)), None)
    assert any(text.startswith(f"Reference picture.image is {name}, which {what}:") for text in checked.warnings)


def test_estimates_are_those_of_the_budget(inputs, capsys):
    path = write(inputs, [{"id": "a", "Driving video.file": "walk.mp4", "Driving mask.file": "walk_mask.mp4"},
                          {"id": "b"}])
    assert main(["batch", "check", path, "--card", "h200", "--gpu_hour_price", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    one, two = (row["estimate"] for row in found["rows"])
    assert (one["frames"], one["segments"], two["frames"], two["segments"]) == (100, 2, 9, 1)
    work = budget.Work(budget.TransformerConfig(), 896, 512, (81, 25), 0, 40, 5.0, 17_700_000_000, 48, 32,
                       plate=True, locked=True)  # as the workflow has it
    need, machine = budget.estimate(work), budget.Machine(0, 0, 0, budget.H200_TFLOPS)
    assert (one["vram"], one["disk"], one["ram"]) == (need.least, need.disk, need.ram)
    assert one["seconds"] == pytest.approx(budget.seconds(work, machine))
    assert one["cost"] == pytest.approx(one["seconds"] / 3600 * 2)
    assert found["total"]["seconds"] == pytest.approx(one["seconds"] + two["seconds"])
    assert found["total"]["disk"] == one["disk"] + two["disk"]


def test_a_draft_costs_less_and_a_distilled_row_less(inputs):
    path = write(inputs, [{"id": "full"}, {"id": "draft", "SCAIL2SampleVideo.draft": True},
                          {"id": "quick", "SCAIL2SampleVideo.steps": 8, "SCAIL2SampleVideo.guidance": 1}])
    full, draft, quick = (row.estimate.seconds() for row in check_rows(read_manifest(Path(path)), None))
    assert draft < quick < full / 8


@pytest.mark.parametrize("price", ["x", "0,5", "-1", "inf", "nan"])
def test_a_price_that_is_none(inputs, capsys, price):
    with pytest.raises(SystemExit) as ended:
        main(["batch", "check", write(inputs, [{"id": "a"}]), f"--gpu_hour_price={price}"])
    assert ended.value.code == 2
    assert f"{price} is not a price" in capsys.readouterr().err


def test_cards_that_were_not_measured_are_not_guessed(inputs, capsys):
    assert find_card("NVIDIA H100") == find_card("h100") == CARDS[1]
    assert find_card("RTX 4090") is None
    assert main(["batch", "check", write(inputs, [{"id": "a"}]), "--card", "RTX 4090", "--gpu_hour_price", "1"]) == 0
    assert "no RTX 4090 was measured" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_without_a_card_no_time_is_said(inputs, capsys):
    assert main(["batch", "check", write(inputs, [{"id": "a"}])]) == 0
    out = capsys.readouterr().out
    assert "time is not estimated" in out
    assert out.endswith("0 errors\n")


def test_a_video_too_large_for_the_card(inputs):
    path = write(inputs, [{"id": "a", "SCAIL2EncodeReference.width": 8192, "SCAIL2EncodeReference.height": 8192}])
    checked, = check_rows(read_manifest(Path(path)), None, card=CARDS[1])
    assert any("but the NVIDIA H100 80GB HBM3 has 79.2 GiB" in text for text in checked.warnings)


def test_model_files_are_looked_for_where_comfyui_looks(inputs, tmp_path):
    comfyui, other = tmp_path / "ComfyUI", tmp_path / "other"
    for folder in (comfyui / "models" / "unet", comfyui / "models" / "clip_vision", other / "te", other / "vae"):
        folder.mkdir(parents=True)
    (comfyui / "main.py").touch()
    names = {"umt5_xxl_fp8_e4m3fn_scaled.safetensors": other / "te", "wan_2.1_vae.safetensors": other / "vae"}
    for name, folder in names.items():
        with open(folder / name, "wb") as file:  # a hole takes no room
            file.truncate(7_000_000_000)
    (comfyui / "models" / "clip_vision" / "clip_vision_h.safetensors").write_bytes(b"cut short")
    (comfyui / "extra_model_paths.yaml").write_text(f"a:\n  base_path: {other}\n  clip: te\n")
    (tmp_path / "more.yaml").write_text("b:\n  vae: |\n    other/vae\n    nowhere\n")
    manifest = read_manifest(Path(write(inputs, [{"id": "a"}])))
    folders = ModelFolders(comfyui, f"--extra-model-paths-config {tmp_path / 'more.yaml'} --cpu")
    first, second = check_rows(manifest, None, folders=folders)[0].errors
    assert first.startswith("The model file wan2.1_14B_SCAIL_2_fp8_scaled.safetensors is missing in")
    assert second.startswith("The model file clip_vision_h.safetensors is incomplete in")
    assert "download it from https://" in first


@pytest.mark.parametrize(("arguments", "text"), [
    (["--comfyui", "gone"], "gone (--comfyui) has no main.py"),
    (["--comfyui", "here", "--comfyui_args", "--extra-model-paths-config gone.yaml"], "gone.yaml"),
    (["--comfyui", "here", "--comfyui_args", "'open"], "No closing quotation")])
def test_a_comfyui_that_is_not_there(inputs, tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "main.py").touch()
    assert main(["batch", "check", write(inputs, [{"id": "a"}]), *arguments]) == 1
    assert text in capsys.readouterr().err


def test_a_hundred_rows_of_a_table(inputs, capsys):
    with open(inputs / "hundred.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "workflow", *FILES, "SCAIL2SampleVideo.seed"])
        table.writerow(["*", "replacement.json", *FILES.values(), ""])
        table.writerows([f"r{index}", "", *[""] * len(FILES), index] for index in range(100))
    start = time.process_time()
    assert main(["batch", "check", str(inputs / "hundred.csv"), "--card", "h200"]) == 0
    assert time.process_time() - start < 5
    assert "100 rows together: 900 frames in 100 segments" in capsys.readouterr().out


def test_files_are_looked_at_once(inputs, monkeypatch):
    import av

    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda path, *given, **named: opened.append(str(path)) or real(
        path, *given, **named))
    write_video(inputs / "once.mp4", 9)
    opened.clear()
    path = write(inputs, [{"id": f"r{index}", "Driving video.file": "once.mp4"} for index in range(20)])
    check_rows(read_manifest(Path(path)), None)
    assert len([path for path in opened if path.endswith("once.mp4")]) == 1


def test_what_is_doubtful_is_said_as_by_the_check_of_a_run(inputs):
    rows = [{"id": "long", "SCAIL2SampleVideo.segment_length": 121, "Driving video.file": "walk.mp4",
             "Driving mask.file": "walk_mask.mp4"}, {"id": "quick", "SCAIL2SampleVideo.steps": 8},
            {"id": "fast", "SCAIL2SampleVideo.rate": 60}]
    found = {row.row.id: row.warnings for row in check_rows(read_manifest(Path(write(inputs, rows))), None)}
    assert found["long"][0].startswith("The longest segment has 101 frames, but the model was trained with at most 81")
    assert "There are 8 steps and no LoRA" in found["quick"][-1]
    assert any(text.startswith("rate asks for 60 frames a second, but") for text in found["fast"])
    assert all("The driving video has 48x32 pixels and is enlarged" in " ".join(texts) for texts in found.values())


def test_rows_that_are_the_same_video(inputs):
    rows = [{"id": "a"}, {"id": "b", "SCAIL2SampleVideo.seed": 7}, {"id": "c"}]
    found = {row.row.id: row.warnings[-1] for row in check_rows(read_manifest(Path(write(inputs, rows))), None)}
    assert found["c"].startswith("It has the values of a, so it will be the same video")
    assert "same video" not in found["a"] + found["b"]


SOURCES = [("animate_a_picture", 80), ("pose_driven", 100), ("mesh_driven", 100), ("small_person", 100),
           ("animal", 100), ("sam3_several_people", 100), ("ksampler", None)]


@pytest.mark.parametrize(("workflow", "frames"), SOURCES)
def test_where_the_driving_video_comes_from(inputs, workflow, frames):
    path = WORKFLOWS / "api" / f"{workflow}.json"
    values = {}
    for about in json.loads(path.read_text(encoding="utf-8")).values():
        title = about["_meta"]["title"]
        values |= {f'"{title}".image': "anna.png"} if about["class_type"] == "LoadImage" else {}
        values |= {f'"{title}".file': "walk.mp4"} if about["class_type"] == "LoadVideo" else {}
    (inputs / "sources.json").write_text(json.dumps({"rows": [{"id": "a", "workflow": str(path), **values}]}))
    checked, = check_rows(read_manifest(inputs / "sources.json"), None)
    assert checked.errors == ()
    assert (checked.estimate.frames if checked.estimate else None) == frames
    assert bool(checked.unknown) == (frames is None)


def test_rows_on_several_gpus(inputs, capsys):
    """Two make a row sooner, for a little more GPU time; of three that a row holds two do."""

    def estimated(*more):
        path = write(inputs, [{"id": "a"}])
        assert main(["batch", "check", path, "--card", "h200", "--gpu_hour_price", "2", *more]) == 0
        return capsys.readouterr().out

    one, two, three, half = (json.loads(estimated("--json", *more))["rows"][0]["estimate"] for more in (
        (), ("--gpus_per_video", "2"), ("--gpus_per_video", "3"), ("--gpus_per_video", "0.5")))
    assert half == one
    assert [each["gpus"] for each in (one, two, three)] == [1, 2, 3]
    assert 0.4 * one["seconds"] < two["seconds"] / 2 < 0.8 * one["seconds"]
    assert two["seconds"] > one["seconds"]
    assert three["seconds"] == pytest.approx(1.5 * two["seconds"])
    assert two["cost"] == pytest.approx(two["seconds"] / 3600 * 2)
    assert three["vram"] == two["vram"] <= one["vram"]
    assert " (2 x " in estimated("--gpus_per_video", "2")
    assert " x " not in estimated().splitlines()[2]
