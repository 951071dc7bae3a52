"""The manifests of docs/batch: they can be used as they are, and say the same in every form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from manifests import WORKFLOWS, write_picture, write_video

from scail_model.batch.manifest import read_manifest
from scail_model.batch.workflow import fingerprint
from scail_model.headless.cli import main

EXAMPLES = Path(__file__).parents[2] / "docs" / "batch"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, models):
    """The examples with files of the names that they have in them."""
    root = tmp_path_factory.mktemp("pack")
    folder = root / "docs" / "batch"
    shutil.copytree(EXAMPLES, folder)
    shutil.copytree(WORKFLOWS / "api", root / "workflows" / "api")
    for name in ("anna", "boris"):
        write_picture(folder / f"{name}.png")
        write_picture(folder / f"{name}_mask.png")
    for name, frames in (("dance", 9), ("walk", 13)):
        write_video(folder / f"{name}.mp4", frames)
        write_video(folder / f"{name}_mask.mp4", frames)
    return folder


def test_one_schema_in_three_forms(folder):
    found = [read_manifest(folder / f"characters.{form}") for form in ("yaml", "json", "csv")]
    assert [manifest.faults for manifest in found] == [()] * 3
    prints = [{row.id: fingerprint(row) for row in manifest.rows} for manifest in found]
    assert list(prints[0]) == ["anna-dance", "anna-walk", "boris-dance", "boris-walk"]
    assert prints[0] == prints[1] == prints[2]
    assert len(set(prints[0].values())) == 4


@pytest.mark.parametrize("form", ["yaml", "json", "csv"])
def test_they_are_fine(folder, capsys, form):
    assert main(["batch", "check", str(folder / f"characters.{form}"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["estimate"]["frames"] for row in found["rows"]] == [9, 13, 9, 13]


def test_flags_of_the_command_line(folder, capsys, models):
    text = (folder / "command_line.yaml").read_text()
    encoders, transformer = models / "encoders", models / "transformer.safetensors"
    (folder / "here.yaml").write_text(text.replace(
        "--ckpt_dir: SCAIL-2", f"--ckpt_dir: {encoders}\n  --scail_path: {transformer}"))
    assert main(["batch", "check", str(folder / "here.yaml"), "--json"]) == 0, capsys.readouterr()


def test_the_example_on_the_page(tmp_path):
    page = (EXAMPLES.parent / "batch.md").read_text(encoding="utf-8")
    (tmp_path / "m.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    manifest = read_manifest(tmp_path / "m.yaml")
    assert manifest.faults == ()
    assert {row.id for row in manifest.rows} == {"anna-dance", "anna-walk", "boris-dance", "boris-walk", "poster"}
    assert {row.workflow.name for row in manifest.rows} == {"replacement.json"}
