"""A batch of the miniature on two logical GPUs with two ComfyUIs, through everything that can happen in a night. Its
quick twin, with rows that wait, is tests/unit/test_batch_ray.py."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import assets
import numpy as np
import psutil
import pytest
from batch_rows import SEGMENTS, copy_files, requirements, write_models, write_row
from comfyui import COMFYUI, PACK

ROWS = 8
_COMMAND = "import sys; from scail_model.headless.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def row(comfy, tmp_path_factory):
    written = write_models(comfy)
    yield write_row(tmp_path_factory.mktemp("rows"))
    for path in written:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def manifest(row):
    rows = [{"id": f"seed{number}", "SCAIL2SampleVideo.seed": number} for number in range(ROWS)]
    path = row.base / "batch.json"
    path.write_text(json.dumps({"defaults": {"workflow": "workflow.json", "TestSlowSampler.sleep": 0.3}, "rows": rows}))
    return path


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, and its size in bytes."""
    folder, size = tmp_path / "disk", 64 * 2**20
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


class Batch:
    """The command line over one manifest and folder."""

    def __init__(self, manifest: Path, out: Path, comfy, scratch: Path) -> None:
        self.out, self._scratch = out, scratch
        self._words = [manifest, "--out", out, "--comfyui", COMFYUI, "--comfyui_args",
                       f"--cpu --disable-api-nodes --base-directory {comfy.base}", "--gpus", "2",
                       "--gpu_hour_price", "3.6"]
        self._environment = {**os.environ, **requirements(scratch / "requirements")}
        self.log = scratch / "scail2.log"

    def start(self, command: str, *more: str) -> subprocess.Popen:
        with self.log.open("a") as log:
            return subprocess.Popen([sys.executable, "-c", _COMMAND, "batch", command, *map(str, self._words), *more],
                                    cwd=PACK, env=self._environment, stdout=log, stderr=log, start_new_session=True)

    def status(self) -> dict:
        done = subprocess.run([sys.executable, "-c", _COMMAND, "batch", "status", self.out, "--json"], cwd=PACK,
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def reports(self) -> dict[str, dict]:
        found = {}
        for path in (self.out / "rows").glob("*/report.json"):
            with contextlib.suppress(OSError, ValueError):
                found[path.parent.name] = json.loads(path.read_text())
        return found

    def until(self, what, driver: subprocess.Popen, seconds: float = 120.0):
        """Wait until a function of the reports gives something, and return that."""
        end = time.monotonic() + seconds
        while not (found := what(self.reports())):
            assert driver.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.1)
        return found

    def segments(self) -> Counter:
        """How often each segment of each row was made."""
        made = Counter()
        for path in (self.out / "rows").glob("*/events.ndjson"):
            told = map(json.loads, path.read_text().splitlines())
            made.update((path.parent.name, one["segment"]) for one in told
                        if one["event"] == "segment" and not one["kept"])
        return made


def comfyuis(driver: subprocess.Popen) -> list[psutil.Process]:
    return _children(driver, lambda words: any("launcher.py" in word for word in words))


def actors(driver: subprocess.Popen) -> list[psutil.Process]:
    return _children(driver, lambda words: words[0].startswith("ray::RowActor"))


def _children(driver, wanted) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(driver.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.cmdline() and wanted(child.cmdline()):
                found.append(child)
    return found


def sampling(reports) -> str | None:
    """A row that is in the middle: it has a segment, and not all."""
    return next((id for id, report in reports.items()
                 if report["state"] == "running" and 0 < report["segments"].get("made", 0) < SEGMENTS), None)


@pytest.mark.slow
def test_a_night_with_everything_that_can_happen(comfy, row, manifest, small_disk, tmp_path):
    batch = Batch(manifest, small_disk / "night", comfy, tmp_path)

    driver = batch.start("run")
    first = batch.until(sampling, driver)
    comfyuis(driver)[0].kill()
    batch.until(lambda reports: any(report["attempts"][0]["kind"] == "process" for report in reports.values()), driver)
    done = len([1 for report in batch.reports().values() if report["state"] == "done"])
    batch.until(lambda reports: sampling(reports) and len(reports) > done + 1, driver)
    actors(driver)[0].kill()
    batch.until(lambda reports: sum(report["state"] == "done" for report in reports.values()) >= 3, driver)
    batch.until(sampling, driver)
    orphans = [*comfyuis(driver), *actors(driver)]
    driver.kill()
    driver.wait()
    gone, alive = psutil.wait_procs(orphans, timeout=10)
    assert not alive
    assert len(gone) == 4
    states = Counter(one["state"] for one in batch.status()["rows"])
    assert states["running"] == 0
    assert states["interrupted"] >= 1

    driver = batch.start("run", "--attempts", "1")
    batch.until(sampling, driver)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    batch.until(lambda reports: "The disk is full" in batch.log.read_text(), driver)
    filler.unlink()
    driver.wait(300)
    driver = batch.start("retry")
    assert driver.wait(300) == 0, batch.log.read_text()[-3000:]

    reports = batch.reports()
    assert {report["state"] for report in reports.values()} == {"done"}
    assert len(reports) == ROWS
    assert max(batch.segments().values()) == 1, "finished segments are not made again"
    kinds = Counter(attempt["kind"] for report in reports.values() for attempt in report["attempts"])
    assert kinds["process"] >= 2
    assert kinds["disk"] >= 1
    assert reports[first]["gpu_seconds"] == pytest.approx(sum(
        attempt["gpu_seconds"] for attempt in reports[first]["attempts"]), abs=0.01)
    assert "report.html" in {path.name for path in batch.out.iterdir()}
    for number in range(ROWS):  # equal to the bit to the same graph alone
        graph = copy_files(row, comfy)
        graph["sampled"]["inputs"]["seed"] = number
        (saved,) = comfy.run(graph)["saved"]["images"]
        alone = comfy.base / "output" / saved["subfolder"] / saved["filename"]
        made = batch.out / "rows" / f"seed{number}" / "video.mp4"
        assert np.array_equal(assets.pictures_of(made), assets.pictures_of(alone))
        assert assets.packets_of(made, "audio") == assets.packets_of(alone, "audio")

    driver = batch.start("run")
    assert driver.wait(60) == 0
    assert batch.log.read_text().count("Ray is started") == 3, "there is nothing to do"
    assert {id: len(report["attempts"]) for id, report in batch.reports().items()} == {
        id: len(report["attempts"]) for id, report in reports.items()}


@pytest.mark.slow
@pytest.mark.parametrize("stop", [lambda driver: driver.send_signal(signal.SIGTERM),
                                  lambda driver: os.killpg(driver.pid, signal.SIGINT)], ids=["SIGTERM", "Ctrl-C"])
def test_a_stop_and_a_second_driver(comfy, row, manifest, tmp_path, stop):
    before = {*Path(tempfile.gettempdir()).glob("scail2-comfyui-*")}
    batch = Batch(manifest, tmp_path / "out", comfy, tmp_path)
    driver = batch.start("run")
    batch.until(sampling, driver)
    second = batch.start("run")
    assert second.wait(60) == 1
    assert "Another run is working in" in batch.log.read_text()
    working, others = comfyuis(driver), actors(driver)
    stop(driver)
    told = time.monotonic()
    _, alive = psutil.wait_procs(working, timeout=5)
    assert not alive
    assert time.monotonic() - told < 3.0  # a quiet machine takes a fifth of that
    assert driver.wait(20) == 130
    assert not any(one.is_running() for one in others)
    assert "the same command goes on from there" in batch.log.read_text()
    assert any(report["kind"] == "stopped" for report in batch.reports().values()), "it was written down"
    assert (batch.out / "report.html").is_file()
    assert not [path for path in Path(tempfile.gettempdir()).glob("scail2-comfyui-*") if path not in before]
    assert {one["state"] for one in batch.status()["rows"]} <= {"done", "failed", "waiting", "interrupted"}
