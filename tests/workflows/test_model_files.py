"""Missing model files are said in one list, before a run: to programs by the server, to people by the page."""

from __future__ import annotations

import json
from pathlib import Path

import generate
import pytest

from scail_model.preflight.model_files import CLIP_VISION, KNOWN, SAM3, TRANSFORMER, VAE, Needed, report

FIRST = generate.WORKFLOWS / "api/animate_a_picture.json"
NAMES = {"wan2.1_14B_SCAIL_2_fp8_scaled.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
         "clip_vision_h.safetensors", "wan_2.1_vae.safetensors", "sam3.1_multiplex_fp16.safetensors",
         "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors"}


@pytest.fixture
def models(server):
    """The server's folder, without the files of the workflow before and after."""
    def remove() -> None:
        for file in KNOWN.values():
            (server.base / "models" / file.folder / file.name).unlink(missing_ok=True)

    remove()
    yield server.base / "models"
    remove()


def write(models: Path, *files) -> None:
    """Files of the right sizes that take no room on the disk."""
    for file in files:
        path = models / file.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as written:
            written.truncate(round(file.gigabytes * 1e9))


@pytest.mark.parametrize(("found", "state"), [(None, "missing"), (0, "incomplete"), (9_000_000_000, "incomplete"),
                                              (17_660_000_000, "there")])
def test_file_is_complete_by_its_size(found, state):
    assert Needed(TRANSFORMER.name, Path("models"), found).state == state


def test_list_says_what_to_do():
    needed = [Needed(TRANSFORMER.name, Path("models/diffusion_models"), 9_000_000_000),
              Needed(VAE.name, Path("models/vae"), 253_815_318),
              Needed(CLIP_VISION.name, Path("models/clip_vision"), None),
              Needed("mine.gguf", Path("models/unet"), None)]
    assert report(needed).split("\n") == [
        "3 of 4 model files are missing or incomplete:",
        f"- {TRANSFORMER.name} in models/diffusion_models has only 9.00 GB of 17.7 GB: download it again, from "
        f"{TRANSFORMER.url}",
        f"- {CLIP_VISION.name} (1.3 GB) into models/clip_vision, from {CLIP_VISION.url}",
        "- mine.gguf (unknown size) into models/unet"]
    assert report(needed[1:2] * 2) == "All 2 model files are there."


def test_server_lists_the_files_of_a_graph(server, models):
    prompt = json.loads(FIRST.read_text(encoding="utf-8"))
    answer = server.post("/scail2/files", {"prompt": prompt})
    assert {file["file"] for file in answer["files"]} == NAMES
    assert not answer["ok"]
    assert {file["state"] for file in answer["files"]} == {"missing"}
    for file in answer["files"]:
        folder = KNOWN[file["file"]].folder
        assert file["folder"] == str(models / folder)
        assert file["url"].endswith(f"/{file['file']}")
        assert file["text"] in answer["text"]
    write(models, *(KNOWN[name] for name in NAMES - {SAM3.name}))
    answer = server.post("/scail2/files", {"prompt": prompt})
    assert [file["file"] for file in answer["files"] if file["state"] != "there"] == [SAM3.name]
    write(models, SAM3)
    assert server.post("/scail2/files", {"prompt": prompt}) | {"files": []} == {
        "files": [], "text": "All 6 model files are there.", "ok": True}


def test_server_knows_files_in_subfolders_and_names_of_no_file(server, models):
    prompt = {"1": {"class_type": "UNETLoader", "inputs": {"unet_name": "scail/mine.safetensors"}},
              "2": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}},
              "3": {"class_type": "SCAIL2LoadModel", "inputs": {"model_name": "fp32.safetensors"}}}
    mine, other = server.post("/scail2/files", {"prompt": prompt})["files"]
    assert (mine["folder"], mine["size"], mine["url"]) == (str(models / "diffusion_models/scail"), None, None)
    assert (other["file"], other["state"]) == ("fp32.safetensors", "there")


def test_page_lists_them_in_graph_and_form(page, models):
    content, others = (json.loads((generate.WORKFLOWS / name).read_text(encoding="utf-8"))
                       for name in ("animate_a_picture.json", "animation.json"))
    complete = [{"path": str(models / file.folder / file.name), "size": round(file.gigabytes * 1e9)}
                for file in map(KNOWN.get, NAMES) if file is not None]
    found = page("model_files", content=content, others=others, complete=complete)
    assert found["opened"]["heading"] == "6 of 6 model files are missing:"
    assert len(found["opened"]["lines"]) == 6
    for line in found["opened"]["lines"]:
        (file,) = [KNOWN[name] for name in NAMES if name in line]
        assert line == f"✕{file.name} {file.gigabytes:g} GB, into {models / file.folder}"
    assert set(found["opened"]["links"]) == {KNOWN[name].url for name in NAMES}
    assert found["closed"] == 0, "the user has closed the list"
    assert found["complete"]["heading"] == "All 6 model files are there. The graph can run."
    assert all(line.endswith(" is there") for line in found["complete"]["lines"])
    assert found["others"] == 1, "until the user closes it"


def test_page_lists_what_the_server_lists(page, server, models):
    """Also files of loaders that call their input otherwise, and one that is nowhere to be had from here."""
    names = ("pose_driven", "mesh_driven")
    said = page("missing_files", contents=[json.loads((generate.WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
                                           for name in names])
    for name, lines in zip(names, said, strict=True):
        prompt = json.loads((generate.WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
        files = server.post("/scail2/files", {"prompt": prompt})["files"]
        assert sorted(line[1:].split(" ")[0] for line in lines) == sorted(file["file"] for file in files)
        special = {"pose_driven": "nlf_l_multi_0.3.2.torchscript", "mesh_driven": "sam_3d_body_dinov3_bf16.safetensors"}
        assert special[name] in {file["file"] for file in files}
