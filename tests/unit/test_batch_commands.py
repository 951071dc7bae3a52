"""`scail2 batch run`, `retry` and `status` as far as they come without Ray, and what a batch shows while it runs."""

import io
import json
import re
import shutil
import time
from dataclasses import replace

import pytest
from PIL import Image
from waiting_engine import waiting_row

from scail_model.batch.choice import choose
from scail_model.batch.driver import Standing
from scail_model.batch.events import Position
from scail_model.batch.failures import Kind
from scail_model.batch.folders import DONE, FAILED, BatchFolder
from scail_model.batch.progress import Progress
from scail_model.batch.report import Attempt, Facts, RowReport
from scail_model.batch.workers import Seen
from scail_model.batch.workflow import fingerprint
from scail_model.headless.batch_run import settle_others
from scail_model.headless.cli import main


def reported(id, *ends, state=None, total=3):
    """A row's report after attempts that ended so: a Kind, None for done, "running"."""
    report = RowReport(id, "print", facts=Facts(segments={"total": total, "kept": 0, "made": 1}), price=3.6)
    for end in ends:
        report = report.begun(Attempt("2026-11-30T00:00:00+00:00", "anna", 1, "comfyui", ("0",), gpu_seconds=1000.0))
        if end != "running":
            text = None if end is None else f"It failed: {end.value}."
            report = report.changed(state=DONE if end is None else FAILED, kind=end, error=text)
    return report


@pytest.fixture
def folder(tmp_path):
    """A batch of five rows: done, failed for good, failed once, broken off, waiting."""
    folder = BatchFolder(tmp_path / "night")
    folder.begin({id: {"fingerprint": "print"} for id in ("a", "b", "c", "d", "e")}, {"gpu_hour_price": 3.6})
    for id, ends in {"a": [None], "b": [Kind.INPUTS], "c": [Kind.PROCESS], "d": ["running"]}.items():
        folder.row(id).folder.mkdir(parents=True)
        folder.row(id).write(reported(id, *ends))
    folder.row("a").path("video.mp4").touch()
    return folder


def test_which_rows_are_made(folder):
    rows = [waiting_row(id) for id in "abcde"]
    choice = choose(rows, folder, attempts=3)
    assert [row.id for row in choice.rows] == ["c", "d", "e"]
    assert (choice.done, dict(choice.failed), choice.gpu_seconds) == (("a",), {"b": "It failed: inputs."}, 4000.0)
    assert [row.id for row in choose(rows, folder, attempts=1).rows] == ["d", "e"]
    assert [row.id for row in choose(rows, folder, attempts=1, again=["b", "c"]).rows] == ["b", "c", "d", "e"]
    assert [row.id for row in choose(rows, folder, attempts=1).rows] == ["b", "c", "d", "e"], "they wait now"


@pytest.mark.parametrize("ends", [[Kind.MEMORY], [Kind.MEMORY, "running"]], ids=["failed", "broken off"])
def test_a_row_that_needs_its_smaller_values_begins_with_them(folder, ends):
    row = replace(waiting_row("c"), smaller={"--segments": 1})
    folder.row("c").write(reported("c", *ends))
    choice = choose([row, waiting_row("e")], folder, attempts=3)
    assert ([one.id for one in choice.rows], choice.smaller) == (["c", "e"], {"c"})


def test_a_finished_row_whose_video_is_gone_is_made_again(folder):
    folder.row("a").path("video.mp4").unlink()
    assert [row.id for row in choose([waiting_row("a")], folder, attempts=3).rows] == ["a"]


@pytest.mark.parametrize("copied", [False, True], ids=["where it is", "copied elsewhere"])
def test_status_for_people(folder, tmp_path, capsys, copied):
    path = shutil.copytree(folder.root, tmp_path / "copy") if copied else folder.root
    assert main(["batch", "status", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "d: interrupted, 0 of 3 segments",
        "b: failed, 0 of 3 segments, It failed: inputs.",
        "c: failed, 0 of 3 segments, It failed: process.",
        "5 rows: 1 done, 2 failed, 1 interrupted, 1 waiting, 1.1 GPU-hours, cost 4.00"]


def test_status_for_programs_while_somebody_makes_a_row(folder, capsys):
    with folder.locked(), folder.row("d").locked():
        assert main(["batch", "status", str(folder.root), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert {row["id"]: row["state"] for row in values["rows"]} == {
        "a": "done", "b": "failed", "c": "failed", "d": "running", "e": "waiting"}
    assert (values["gpu_seconds"], values["cost"]) == (4000.0, 4.0)
    assert [row["error"] for row in values["rows"] if row["error"]] == ["It failed: inputs.", "It failed: process."]


@pytest.mark.parametrize(("argv", "text"), [
    (["status", "{}"], "is not the folder of a batch: give the manifest or the folder of one that was run."),
    (["run", "{}/none.json"], "none.json"),
    (["run", "{}/rows.json"], "row 1 (a) has a workflow: add --comfyui FOLDER, the ComfyUI that makes it."),
    (["run", "{}/rows.json", "--only", "b"], "has no row b: its rows are a."),
    (["retry", "{}/rows.json", "c"], "has no row c: its rows are a."),
    (["run", "{}/rows.json", "--comfyui", "{}"], "main.py"),
    (["run", "{}/wrong.json"], "nothing"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_one_sentence_before_anything_begins(tmp_path, capsys, argv, text):
    (tmp_path / "w.json").write_text(json.dumps({
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Load"}},
        "2": {"class_type": "SaveVideo", "inputs": {"video": ["1", 0], "filename_prefix": "x"}}}))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for name, values in (("rows", {}), ("wrong", {"Load.nothing": 1})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": [{"id": "a", "workflow": "w.json", **values}]}))
    assert main(["batch", *(word.format(tmp_path) for word in argv)]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert text in told[-1]
    assert told[-1].startswith("scail2: ")


def test_rows_that_were_begun_with_other_inputs_are_refused_or_set_aside(tmp_path, capsys):
    folder, rows = BatchFolder(tmp_path), [waiting_row("same"), waiting_row("a", seconds=1.0), waiting_row("b", 5)]
    for row, print in zip(rows, (fingerprint(rows[0]), "another", "another"), strict=True):
        folder.row(row.id).folder.mkdir(parents=True)
        folder.row(row.id).write(replace(reported(row.id, None), fingerprint=print))
    with pytest.raises(ValueError, match="Row b was begun with other inputs .* add --replace"):
        settle_others(folder, rows, replace=False)
    assert "Row a was begun with other inputs" in capsys.readouterr().err, "each is named"
    settle_others(folder, rows, replace=True)
    assert [folder.row(id).report() is None for id in ("same", "a", "b")] == [False, True, True]
    assert sorted(path.name for path in (tmp_path / "replaced").iterdir()) == ["a.1", "b.1"]


@pytest.mark.parametrize("flags", [["--gpus", "0"], ["--gpus_per_video", "1.5"], ["--attempts", "x"],
                                   ["--gpus", "1", "--address", "auto"]], ids=" ".join)
def test_wrong_usage(capsys, flags):
    with pytest.raises(SystemExit) as ended:
        main(["batch", "run", "m.json", *flags])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(("address", "reason"), [("127.0.0.1:1", "refused"), ("ray://127.0.0.1:1", "refused"),
                                                 ("auto", "refused"), ("nonsense", "Invalid address")])
def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path, monkeypatch, address, reason):
    pytest.importorskip("ray")
    from scail_model.batch.cluster import cluster

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1" if address == "auto" else "")
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=f"No Ray cluster answers at {address} .*{reason}.*leave --address out"), \
            cluster(tmp_path / "ray.log", address=address):
        pass
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("variable", "value", "said"), [
    ("RAY_TMPDIR", "long", r"Ray cannot be started in .* \(.*AF_UNIX.*\): set RAY_TMPDIR to a folder with a short"),
    ("CUDA_VISIBLE_DEVICES", "0", r"Ray cannot give --gpus 2 here \(.*\): choose a smaller number, or correct CUDA")])
def test_a_cluster_that_cannot_be_started_here(tmp_path, monkeypatch, variable, value, said):
    pytest.importorskip("ray")
    from scail_model.batch.cluster import cluster

    monkeypatch.setenv(variable, str(tmp_path / ("x" * 90)) if value == "long" else value)
    with pytest.raises(RuntimeError, match=said), cluster(tmp_path / "ray.log", gpus=2):
        pass


class Terminal(io.StringIO):
    def isatty(self):
        return True


SEEN = [Seen(f"row{number}", f"GPU {number}", Position(f"row{number}", "sampling", 2, 5, 3, 8, 240.0))
        for number in range(6)]


def shown(stream, seen):
    tell = Progress(stream, total=14, before=2, gpu_seconds=1800.0, price=2.0)
    tell.show(Standing(2, 1, 12, 1800.0, 3000.0, 6, seen, 1))
    tell.made(reported("row9", None))
    return tell, stream.getvalue()


def test_a_log_gets_one_line_however_many_rows_are_made(capsys):
    _, text = shown(io.StringIO(), SEEN[:4])
    first, second = text.splitlines()
    assert first.startswith("4 of 14 done, 1 failed, 6 being made, 1 worker on its way, about 50 min left, 1 "
                            "GPU-hours, cost 2.00; row0 on GPU 0, segment 2 of 5, step 3 of 8, about 4 min 0 s left; ")
    assert first.endswith("; and 2 more")
    assert second == "[3 of 14] row9 is done: 0.28 GPU-hours, cost 1.00"


def test_a_terminal_has_a_line_for_each_row_and_what_happened_stays_above():
    tell, text = shown(Terminal(), SEEN)
    tell.close()
    shown_now = screen(text)
    assert shown_now[0].startswith("[3 of 14] row9 is done")
    assert shown_now[1].startswith("4 of 14 done")
    assert [line.split()[0] for line in shown_now[2:]] == [f"row{number}" for number in range(6)]
    assert tell.every < 5


def screen(text):
    """What a terminal shows after a text that moves up and clears."""
    lines = []
    for piece in re.split(r"(\x1b\[\d+A\x1b\[J)", text):
        if piece.startswith("\x1b"):
            del lines[-int(piece[2 : piece.index("A")]) :]
        else:
            lines += piece.splitlines()
    return lines
