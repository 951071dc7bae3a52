"""What is made of a finished row and of a batch's folder for people: thumbnails, verdicts, one page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import av
import numpy as np
import pytest
from PIL import Image

from scail_model.batch.costs import in_hours
from scail_model.batch.failures import Kind
from scail_model.batch.folders import BatchFolder
from scail_model.batch.page import write_page
from scail_model.batch.report import DONE, FAILED, INTERRUPTED, RUNNING, WAITING, Attempt, Facts, RowReport
from scail_model.batch.verdicts import JUDGED, STRIP, judge, judged_values
from scail_model.headless.cli import main
from tests.browser import browser

NASTY = "it broke </script><script>alert(1)</script> & \"so on\" \u2028"


def write_video(path, frames=40, step_at=None, size=(64, 96)):
    """A still picture with a little noise, lighter from frame `step_at` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1)
    picture = np.linspace(40, 160, size[0] * size[1] * 3).reshape(*size, 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "10"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv444p"
        for index in range(frames):
            light = 40 if step_at is not None and index >= step_at else 0
            levels = (picture + light + noise.normal(0, 1, picture.shape)).clip(0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(levels)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def segments(frames=40, at=20):
    return {"segments": {"frames": frames, "fps": "16", "segments": [
        {"start": 0, "stop": at, "overlap": 0}, {"start": at - 5, "stop": frames, "overlap": 5}]}}


@pytest.mark.parametrize(("step_at", "verdict"), [(None, "good"), (20, "strong")])
def test_a_finished_row_is_judged(tmp_path, step_at, verdict):
    folder = BatchFolder(tmp_path)
    row, job = folder.row("anna"), tmp_path / "job"
    write_video(row.path("video.mp4"), step_at=step_at)
    job.mkdir()
    (job / "video.mp4.json").write_text(json.dumps(segments()))
    row.write(RowReport("anna", "x", DONE, (), Facts(job_folder=str(job))))
    judge(folder, "anna")
    found = judged_values(row)
    assert [seam["verdict"] for seam in found["seams"]] == [verdict]
    assert found["seams"][0]["frame"] == 20
    assert (found["drift"][0]["distance"] > 5) == (verdict == "strong")
    with Image.open(row.path(STRIP)) as strip:
        assert strip.height == 96
        assert 600 < strip.width < 900


def test_it_is_not_judged_twice_and_anew_when_it_was_made_anew(tmp_path):
    folder = BatchFolder(tmp_path)
    row = folder.row("anna")
    write_video(row.path("video.mp4"), frames=8)
    judge(folder, "anna")
    first = row.path(JUDGED).stat().st_mtime_ns
    judge(folder, "anna")
    assert row.path(JUDGED).stat().st_mtime_ns == first
    write_video(row.path("video.mp4"), frames=9)
    assert judged_values(row) is None
    judge(folder, "anna")
    assert judged_values(row)["frames"] == 9


@pytest.mark.parametrize("video", [None, b"", b"no video"], ids=["none", "empty", "something else"])
def test_judging_stops_no_batch(tmp_path, video):
    folder = BatchFolder(tmp_path)
    if video is not None:
        folder.row("a").folder.mkdir(parents=True)
        folder.row("a").path("video.mp4").write_bytes(video)
    judge(folder, "a")
    assert not folder.row("a").path(JUDGED).exists()


def data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)[1])


def test_the_page_shows_every_row_in_the_order_of_the_manifest(tmp_path):
    folder = BatchFolder(tmp_path)
    folder.begin({name: {"fingerprint": "x"} for name in ("e", "d", "c", "b", "a")}, {})
    ended = Attempt("2026-11-30T01:00:00.000+00:00", "node1", 1, "comfyui", ("0",), state=DONE,
                    ended="2026-11-30T02:00:00.000+00:00", gpu_seconds=3600.0, stages={"sampling": 3000.0}, made=2)
    failed = Attempt("2026-11-30T02:00:00.000+00:00", "node2", 1, "comfyui", state=FAILED, kind=Kind.NAN, error=NASTY,
                     ended="2026-11-30T02:30:00.000+00:00", gpu_seconds=1800.0)
    facts = Facts(frames={"in": 81, "out": 81}, rate={"in": "30000/1001", "out": "16/1"}, gpu="NVIDIA H200",
                  segments={"total": 2, "kept": 0, "made": 2}, seams=({"segment": 2, "verdict": "visible"},))
    for name in ("d", "c", "b", "a"):
        folder.row(name).folder.mkdir(parents=True)
    folder.row("d").write(RowReport("d", "x", DONE, (ended,), facts, 2.0))
    (folder.row("d").path("video.mp4")).write_bytes(b"x")
    folder.row("c").write(RowReport("c", "x", FAILED, (failed,), Facts(), 2.0))
    folder.row("b").write(RowReport("b", "x", RUNNING, (Attempt("2026-11-30T02:00:00.000+00:00", "node2", 1, "x"),)))
    folder.row("a").path("report.json").write_text("{")
    page = write_page(folder)
    text = page.read_text(encoding="utf-8")
    found = data(page)
    assert [(row["id"], row["state"]) for row in found["rows"]] == [
        ("e", WAITING), ("d", DONE), ("c", FAILED), ("b", INTERRUPTED), ("a", "damaged")]
    assert found["states"] == {DONE: 1, FAILED: 1, INTERRUPTED: 1, WAITING: 1, "damaged": 1}
    one = found["rows"][1]
    assert (one["cost"], one["seams"], one["worst"], one["stages"]) == (2.0, {"visible": 1}, 3, {"sampling": 3000.0})
    assert one["rate"] == {"in": "29.97", "out": "16"}
    assert one["files"] == {"video": "rows/d/video.mp4", "report": "rows/d/report.json"}
    assert found["rows"][2]["error"] == NASTY
    cards = {label: value for value, label, _ in found["cards"]}
    assert cards["GPU-hours"] == "1.5"
    assert cards["cost"] == "3.00"
    assert cards["from first to last"] == "1 h 30 min"
    assert cards["of GPU time made nothing"] == "30 min"
    assert text.count("</script>") == 2, "nothing of a row ends the script"
    assert "://" not in text, "nothing is fetched from anywhere"


@pytest.mark.parametrize(("name", "change"), [
    ("report.json", {"frames": None}), ("report.json", {"state": "finished"}), ("report.json", {"state": []}),
    ("report.json", {"attempts": [{"started": None}]}), ("report.json", {"attempts": [{"ended": "yesterday"}]}),
    ("report.json", {"gpu_hour_price": float("nan")}), ("report.json", None),
    ("judged.json", {"drift": None}), ("judged.json", {"seams": [1]}),
    ("judged.json", {"drift": [{"distance": float("nan")}]}),
], ids=str)
def test_one_damaged_row_leaves_the_page_of_all_others(tmp_path, capsys, name, change):
    folder = BatchFolder(tmp_path)
    folder.begin({id: {"fingerprint": "x"} for id in ("a", "b")}, {})
    attempt = Attempt("2026-11-30T01:00:00.000+00:00", "node1", 1, "comfyui", state=DONE, gpu_seconds=1.0,
                      ended="2026-11-30T01:15:00.000+00:00")
    for id in ("a", "b"):
        row = folder.row(id)
        row.folder.mkdir(parents=True)
        row.path("video.mp4").write_bytes(b"x")
        row.write(RowReport(id, "x", DONE, (attempt,), Facts(), 1.0))
        about = row.path("video.mp4").stat()
        row.write_values(JUDGED, {"format": "scail2-judged-1", "video": [about.st_size, about.st_mtime_ns]})
    path = folder.row("b").path(name)
    if change is None:
        path.write_text('{"format')
    else:
        values = json.loads(path.read_text())
        if "attempts" in change:
            change = {"attempts": [{**values["attempts"][0], **change["attempts"][0]}]}
        path.write_text(json.dumps({**values, **change}))
    rows = data(write_page(folder))["rows"]
    assert [row["state"] for row in rows] == [DONE, "damaged"]
    assert "is damaged" in rows[1]["error"]
    if change is None:
        assert main(["batch", "status", str(tmp_path)]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("2 rows: 1 done, 1 damaged")


@pytest.mark.parametrize("text", ["[]", "null", '{"rows": []}', '{"other": 1}', "{"])
def test_a_batch_file_of_something_else(tmp_path, capsys, text):
    (tmp_path / "batch.json").write_text(text)
    assert main(["batch", "status", str(tmp_path)]) == 1
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0"), (30.0, "0.0083"), (5400.0, "1.5"), (36_000.0, "10.0"),
                                               (4e7, "11,111")])
def test_hours_are_said_as_exactly_as_they_are_known(seconds, text):
    assert in_hours(seconds) == text


def test_a_batch_that_was_not_begun(tmp_path):
    assert data(write_page(BatchFolder(tmp_path)))["rows"] == []


def test_ten_thousand_rows(tmp_path):
    folder = BatchFolder(tmp_path)
    folder.begin({f"row{index:05}": {"fingerprint": "x"} for index in range(10_000)}, {})
    page = write_page(folder)
    assert len(data(page)["rows"]) == 10_000
    assert page.stat().st_size < 8_000_000


@pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))
def test_the_page_in_a_browser(tmp_path):
    folder = BatchFolder(tmp_path)
    folder.begin({f"row{index:05}": {"fingerprint": "x"} for index in range(300)}, {})
    for name, seconds, state in (("row00003", 50.0, DONE), ("row00007", 900.0, DONE), ("row00009", 10.0, FAILED)):
        attempt = Attempt("2026-11-30T01:00:00.000+00:00", "node1", 1, "comfyui", state=state, gpu_seconds=seconds,
                          ended="2026-11-30T01:15:00.000+00:00", error=NASTY if state == FAILED else None)
        folder.row(name).folder.mkdir(parents=True)
        folder.row(name).path("video.mp4").touch()
        folder.row(name).write(RowReport(name, "x", state, (attempt,), Facts(), 1.0))
    page = write_page(folder)
    program = shutil.which("node"), browser.FOLDER / "batch_page.mjs"
    seen = json.loads(subprocess.run([*map(str, (*program, browser._playwright(), browser._chromium(), page))],
                                     check=True, capture_output=True, text=True, timeout=60).stdout)
    assert (seen["messages"], seen["requests"]) == ([], [])
    assert (seen["drawn"], seen["scrolled"]) == (100, 200), "rows are drawn as they are scrolled to"
    assert seen["first"] == [f"row{index:05}" for index in range(5)]
    assert seen["error"] == NASTY
    assert seen["cards"][:3] == ["2done", "1failed", "297waiting"]
    assert seen["longest"] == ["row00007", "row00003"]
    assert seen["shortest"] not in seen["longest"]
    assert seen["failed"] == ["row00009"]
    assert seen["found"] == ["row00042"]
    assert seen["dark"] == "rgb(20, 23, 27)"
    assert not seen["wide"]
