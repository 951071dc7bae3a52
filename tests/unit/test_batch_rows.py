"""A row from its first event to its report, with an engine that only tells what it was given; and the folders."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from scail_model.batch import events
from scail_model.batch.engine import Result
from scail_model.batch.failures import Kind, RowError
from scail_model.batch.folders import DONE, FAILED, INTERRUPTED, RUNNING, WAITING, BatchFolder
from scail_model.batch.manifest import Row
from scail_model.batch.results import bring, bring_others
from scail_model.batch.row import other_inputs, run_row

SEGMENTS = [events.event(events.SEGMENT, segment=number, segments=3, kept=number == 1) for number in (1, 2, 3)]


class Engine:
    """Tells `told`, of which errors are raised and functions called; then the video is there."""

    name, gpus = "fake", ("0", "1")

    def __init__(self, *told):
        self.told, self.smaller = told, None

    def start(self, tell):
        tell(events.event(events.STAGE, stage=events.STARTING))
        tell(events.event(events.FACTS, versions={"torch": "2"}, gpu="H200"))

    def run(self, row, folder, tell, *, smaller):
        self.smaller = smaller
        for told in self.told:
            if isinstance(told, BaseException):
                raise told
            told() if callable(told) else tell(told)
        folder.path("video.mp4").write_bytes(b"video")
        return Result(folder.path("video.mp4"))

    def stop(self):
        pass


@pytest.fixture
def row(tmp_path):
    for name in ("a.png", "b.png", "dance.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    return Row("a", "row 1", None, {"--image": "a.png", "--pose": "dance.mp4", "--base_seed": 3}, {}, "", tmp_path)


@pytest.fixture
def batch(tmp_path):
    return BatchFolder(tmp_path / "out")


@pytest.fixture
def make(batch):
    def make(row, *told, price=None, smaller=False, hear=lambda position: None):
        return run_row(row, Engine(*told), batch.row("a"), hear, smaller=smaller, price=price)

    return make


def as_json(report):
    return json.loads(json.dumps(report.values()))


def test_a_row_that_is_made(make, row, batch):
    positions = []
    report = make(row, *SEGMENTS, price=7200.0, hear=positions.append)
    folder = batch.row("a")
    assert folder.state() == DONE
    assert as_json(folder.report()) == as_json(report) == json.loads(folder.path("report.json").read_text())
    assert report.facts.segments == {"total": 3, "kept": 1, "made": 2}
    assert report.cost == pytest.approx(2 * report.gpu_seconds)
    assert {name: about["file"] for name, about in report.facts.inputs.items()} == {
        "--image": str(row.base / "a.png"), "--pose": str(row.base / "dance.mp4")}
    assert report.facts.values == {"--base_seed": 3}
    assert (report.facts.gpu, report.last.pid, report.last.gpus) == ("H200", os.getpid(), ("0", "1"))
    assert [position.segment for position in positions][-3:] == [1, 2, 3]
    told = [json.loads(line)["event"] for line in folder.path("events.ndjson").read_text().splitlines()]
    assert told == ["attempt", "stage", "facts", "segment", "segment", "segment", "ended"]
    assert [path.name for path in folder.folder.iterdir() if path.name.startswith(".")] == []


def test_the_report_is_there_while_the_row_is_made(make, row, batch):
    seen = []

    def look():
        seen.append((batch.row("a").state(), batch.row("a").report().facts.segments))

    make(row, SEGMENTS[0], look, SEGMENTS[1], look)
    assert seen == [("running", {"total": 3, "kept": 1, "made": 0}), ("running", {"total": 3, "kept": 1, "made": 1})]


# what an engine raises, and what the report says
ERRORS = {
    "a sentence": (RowError(Kind.GPU, "The GPU is lost."), Kind.GPU, "The GPU is lost."),
    "Python's": (MemoryError(), Kind.MEMORY, "MemoryError"),
    "of several lines": (ValueError("The width\nis 3."), Kind.INPUTS, "The width is 3."),
    "a disk": (OSError(28, "No space left on device"), Kind.DISK, "[Errno 28] No space left on device"),
}


@pytest.mark.parametrize(("error", "kind", "text"), ERRORS.values(), ids=ERRORS)
def test_a_failure_is_a_report(make, row, batch, error, kind, text):
    report = make(row, SEGMENTS[0], error)
    assert (report.state, report.kind, report.error) == (FAILED, kind, text)
    assert as_json(batch.row("a").report()) == as_json(report)
    assert batch.row("a").state() == FAILED


def test_a_disk_that_is_full_in_the_middle_of_an_event_leaves_whole_lines(make, row, batch):
    resource = pytest.importorskip("resource")  # Windows has none
    events_file, limits = batch.row("a").path("events.ndjson"), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (events_file.stat().st_size + 10, limits[1]))

    try:
        assert make(row, SEGMENTS[0], fill, SEGMENTS[1]).state == FAILED
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert make(row, *SEGMENTS).state == DONE
    told = [json.loads(line)["event"] for line in events_file.read_text().splitlines()]
    assert told.count("segment") == 4


def test_a_folder_that_is_moved_away_is_no_fault_of_the_row(make, row, batch):
    report = make(row, SEGMENTS[0], lambda: batch.row("a").folder.rename(batch.root / "elsewhere"), SEGMENTS[1])
    assert report.kind is Kind.PROCESS
    assert report.error.endswith(": make it writable, with room, and run again; finished segments are kept.")


def test_ctrl_c_leaves_a_report_and_goes_on(make, row, batch):
    with pytest.raises(KeyboardInterrupt):
        make(row, SEGMENTS[0], KeyboardInterrupt())
    report = batch.row("a").report()
    assert (report.state, report.kind, report.last.counts) == (FAILED, Kind.STOPPED, False)


def test_attempts_are_remembered(make, row, batch):
    make(row, SEGMENTS[0], RowError(Kind.MEMORY, "No memory."))
    report = make(row, *SEGMENTS, smaller=True)
    assert [(attempt.state, attempt.smaller, attempt.made) for attempt in report.attempts] == [
        (FAILED, False, 0), (DONE, True, 2)]
    assert report.gpu_seconds == sum(attempt.gpu_seconds for attempt in report.attempts)
    assert report.error is None
    assert report.values()["smaller"] is True


def test_an_attempt_whose_process_was_killed_is_told_from_one_that_runs(make, row, batch):
    make(row)
    running = replace(batch.row("a").report(), attempts=()).begun(batch.row("a").report().last).changed(state=RUNNING)
    batch.row("a").write(running)
    assert batch.row("a").state() == INTERRUPTED
    with batch.row("a").locked():
        assert batch.row("a").state() == RUNNING
        with pytest.raises(RuntimeError, match="Another run is making row a"):
            make(row)
    assert [attempt.state for attempt in make(row).attempts] == [INTERRUPTED, DONE]


def test_a_worker_that_was_lost(make, row, batch):
    make(row)
    running = batch.row("a").report().changed(state=RUNNING)
    lost = running.lost("The worker died.")
    assert (lost.state, lost.kind, lost.error, lost.last.counts) == (FAILED, Kind.PROCESS, "The worker died.", True)
    assert batch.row("a").report().lost("The worker died.").state == DONE  # it was done before
    assert lost.again().state == WAITING
    assert not lost.again().last.counts


def test_a_row_that_another_process_has_made_meanwhile_is_not_made_again(make, row):
    assert make(row, RuntimeError("made twice")).state == FAILED
    made = make(row)
    assert as_json(make(row, RuntimeError("made twice"))) == as_json(made)


def test_a_row_that_is_being_made_is_not_set_aside(row, batch):
    with batch.row("a").locked():
        with pytest.raises(RuntimeError, match="Another run is making row a"):
            batch.row("a").set_aside()
        assert batch.row("a").folder.is_dir()


def test_a_finished_row_without_its_video_waits(make, row, batch):
    make(row)
    batch.row("a").path("video.mp4").unlink()
    assert batch.row("a").state() == WAITING
    assert batch.row("b").state() == WAITING


@pytest.mark.parametrize(("changes", "text"), [
    ({"--image": "b.png"}, "--image was {base}/a.png, now {base}/b.png"),
    ({"--base_seed": 4}, "--base_seed was 3, now 4"),
    ({"--prompt": "a word"}, "--prompt was not given, now a word"),
])
def test_the_same_id_with_other_inputs_is_refused(make, row, batch, changes, text):
    report = make(row)
    other = replace(row, values={**row.values, **changes})
    with pytest.raises(RuntimeError) as error:
        make(other)
    assert str(error.value) == (f"Row a was begun with other inputs ({text.format(base=row.base)}): give it another "
                                "id, or add --replace, which keeps what there is in replaced/.")
    assert as_json(batch.row("a").report()) == as_json(report)
    assert batch.row("a").set_aside() == batch.root / "replaced/a.1"
    assert make(other).state == DONE
    assert (batch.root / "replaced/a.1/video.mp4").read_bytes() == b"video"
    assert batch.row("a").set_aside() == batch.root / "replaced/a.2"
    assert batch.row("a").set_aside() is None


def test_an_input_that_was_changed_under_its_name(make, row):
    report = make(row)
    (row.base / "a.png").write_bytes(b"other")
    assert f"--image: {row.base}/a.png has another content" in other_inputs(row, report)


def test_an_input_that_is_gone(make, row):
    (row.base / "a.png").unlink()
    report = make(row)
    assert (report.state, report.kind) == (FAILED, Kind.INPUTS)
    assert "a.png" in report.error


def test_a_full_disk_at_any_time(make, row, batch, monkeypatch):
    """The report that comes back is right, though none can be written."""
    def full(*_):
        raise RuntimeError("report.json cannot be written (the disk is full): free space there, and run again.")

    monkeypatch.setattr(type(batch.row("a")), "write", full)
    report = make(row)
    assert (report.state, report.kind) == (FAILED, Kind.DISK)


def test_a_damaged_report(make, row, batch):
    make(row)
    for text in ('{"format": "scail2-row-1"', "[]", '{"format": "scail2-row-9"}'):
        batch.row("a").path("report.json").write_text(text)
        with pytest.raises(RuntimeError, match="report.json is damaged"):
            batch.row("a").report()


def test_files_of_a_row_have_one_name_each(tmp_path, batch):
    folder, made = batch.row("a"), tmp_path / "made"
    for name in ("x/a.png", "y/a.png"):
        (made / name).parent.mkdir(parents=True)
        (made / name).write_text(name)
    bring_others([made / "x/a.png", made / "y/a.png"], folder)
    assert {path.name: path.read_text() for path in folder.path("outputs").iterdir()} == {
        "a.png": "x/a.png", "a-2.png": "y/a.png"}
    assert not any(path.is_file() for path in made.rglob("*"))


def test_a_file_on_another_disk(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("video")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    bring(tmp_path / "a", tmp_path / "out/b", keep=False)
    assert (tmp_path / "out/b").read_text() == "video"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
