"""Two hosts with one folder of jobs: no part is lost, no video is removed that somebody reads, and every job is made by
one of them at a time."""

from __future__ import annotations

import fcntl
import random
import socket
import time

import pytest
from hosts import SILENCE, kill, on_host, quick, until

from scail_model.files.jobs import Job, found_jobs, make_room, remove
from scail_model.files.readers import Readers, read_by_others, reading, registry

PART, VIDEO, BYTES = "0001-{}.mp4", "video-1.mp4", 2000
NAMES = "first", "second", "third"
LIMIT = 9000  # room for less than all of them


@pytest.fixture(autouse=True)
def _quick():
    with quick():
        yield


@pytest.fixture
def _patient():
    """A process that is not scheduled for a second is not dead."""
    with quick(3 * SILENCE):
        yield


def work(root, seed, rounds, told):
    """Make, read and remove jobs, as two ComfyUIs and command lines do; each step checks what must hold."""
    chance, readers = random.Random(seed), Readers(root)
    for number in range(rounds):
        step = chance.choice([make, make, look, clear])
        step(root, chance, readers)
        (told / f"{seed}-{number}").touch()


def make(root, chance, readers):
    name = chance.choice(NAMES)
    job = Job(root / name, {"segments": 2, "done": 0, "finished": None})
    pause(chance)
    with job.locked(waiting=lambda _: None), open(root.parent / name, "w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError if another one makes it too
        kept = []
        for part in map(PART.format, "ab"):
            if not job.has(part):
                with job.writing(part) as path:
                    path.write_bytes(b"x")
                    pause(chance)
                    path.write_bytes(b"x" * BYTES)
            kept.append(part)
            job.tell(done=len(kept))
        with job.writing(VIDEO) as path:
            path.write_bytes(b"".join(job.path(part).read_bytes() for part in kept))
        job.tell(finished=time.time())
        readers.tell({name})
        make_room(root, LIMIT, {job.folder})
    pause(chance)
    assert job.path(VIDEO).read_bytes() == b"x" * 2 * BYTES  # as Save Video reads it
    readers.tell(())


def look(root, chance, readers):
    video = root / chance.choice(NAMES) / VIDEO
    with reading(video.parent):
        if video.exists():
            pause(chance)
            assert video.read_bytes() == b"x" * 2 * BYTES


def clear(root, chance, readers):
    make_room(root, chance.choice([0, LIMIT]), set())


def pause(chance):
    time.sleep(chance.choice([0, 0, 0.001, 0.005, 0.02]))


def both(tmp_path, seed, rounds):
    root, told = tmp_path / f"jobs {seed}", tmp_path / f"told {seed}"
    root.mkdir()
    told.mkdir()
    return root, told, [on_host(name, work, root, f"{seed}{name}", rounds, told) for name in ("anna", "bert")]


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_a_hundred_interleavings(tmp_path, seed):
    """25 rounds in each row."""
    root, told, processes = both(tmp_path, seed, 25)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(told.iterdir())) == 50
    assert [path.name for path in root.iterdir() if path.name not in NAMES] == []
    assert list(root.rglob("*.part")) == []


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize(("seed", "kills"), [(0, 1), pytest.param(1, 4, marks=pytest.mark.slow)])
def test_one_of_them_is_killed_again_and_again(tmp_path, seed, kills):
    chance = random.Random(seed)
    root, told, processes = both(tmp_path, seed, 15)
    for number in range(kills):
        time.sleep(chance.uniform(0.05, 0.4))
        if processes[1].is_alive():
            kill(processes[1])
        processes[1] = on_host("bert", work, root, f"{seed}{number}", 15, told)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    time.sleep(3.1 * SILENCE)
    make_room(root, 0, set())
    assert [job for job in found_jobs(root) if job.finished] == []
    assert list(root.rglob(".lease*")) == []


def hold(root, name, told, how):
    readers = Readers(root)
    if how == "makes":
        with Job(root / name, {"finished": 1.0}).locked():
            told.touch()
            time.sleep(60)
    readers.tell({name})
    told.touch()
    time.sleep(60)


def finished(root, name="first"):
    job = Job(root / name, {})
    with job.writing(VIDEO) as path:
        path.write_bytes(b"x")
    job.tell(finished=1.0)
    return job.folder


@pytest.mark.parametrize("host", [None, "anna"])
@pytest.mark.parametrize(("how", "why"), [("makes", "making this video"), ("reads", "still reads its video")])
def test_what_another_one_makes_or_reads_is_not_removed_before_it_is_dead(tmp_path, host, how, why):
    root, told = tmp_path / "jobs", tmp_path / "told"
    folder = finished(root)
    process = on_host(host or socket.gethostname(), hold, root, "first", told, how)
    until(told.exists)
    (job,) = found_jobs(root)
    with pytest.raises(RuntimeError, match=rf"{why}.*wait for it.*\(process {process.pid} on "):
        remove(job)
    assert make_room(root, 0, set()) == []
    assert (folder / VIDEO).exists()
    kill(process)
    if host:
        time.sleep(1.1 * SILENCE)
    assert [found.folder for found in make_room(root, 0, set())] == [folder]
    assert list(root.iterdir()) == []


def test_a_process_that_reads_shows_itself_as_long_as_it_is_wanted(tmp_path):
    """ComfyUI reads while it works."""
    finished(tmp_path)
    wanted = [True]
    readers = Readers(tmp_path, lambda: wanted[0])
    readers.tell({"first"})
    (file,) = tmp_path.glob(".reader-*")
    before = file.stat().st_mtime
    until(lambda: file.stat().st_mtime > before)
    wanted[0] = False
    until(lambda: not file.exists())
    wanted[0] = True
    readers.tell({"first"})  # the next run finds it in ComfyUI's memory
    assert file.exists()
    assert read_by_others(tmp_path) == {}  # it is us
    readers.tell(())
    assert not file.exists()


def test_who_is_stopped_before_reading_reads_nothing(tmp_path):
    """While another process holds the lock."""
    folder = finished(tmp_path)
    with registry(tmp_path), pytest.raises(KeyboardInterrupt), reading(folder, stop):
        raise AssertionError("it was not stopped")
    with reading(folder):
        assert list(tmp_path.glob(".reader-*"))
    assert list(tmp_path.glob(".reader-*")) == []


def stop():
    raise KeyboardInterrupt


def test_a_reader_whose_number_is_used_again(tmp_path):
    """After an hour on a machine that starts many processes."""
    folder = finished(tmp_path)
    mark = tmp_path / ".reader-x.json"
    mark.write_text(f'{{"token": "x", "since": 1, "host": "{socket.gethostname()}", "machine": "00000000", '
                    f'"process": 1, "started": 5, "reads": ["first"]}}')
    assert make_room(tmp_path, 0, set()) == []
    time.sleep(1.1 * SILENCE)
    assert [found.folder for found in make_room(tmp_path, 0, set())] == [folder]
    assert not mark.exists()


def test_a_second_run_waits_and_finds_everything_finished(tmp_path):
    told, seen = tmp_path / "told", []
    process = on_host("anna", slow, tmp_path / "jobs/first", told)
    until(told.exists)
    job = Job(tmp_path / "jobs/first", {"done": 0, "finished": None})
    assert Job(tmp_path / "jobs/first", {}).about["done"] == 1  # who waits tells nothing of the job
    with job.locked(waiting=seen.append):
        assert job.has("0001-a.mp4")
    assert seen[0].startswith(f"Another run is making this video in {job.folder}: wait for it, or stop it (process "
                              f"{process.pid} on anna, since ")


def slow(folder, told):
    job = Job(folder, {"done": 0})
    with job.locked():
        job.tell(done=1)
        with job.writing("0001-a.mp4") as path:
            path.write_bytes(b"x")
            told.touch()
            time.sleep(1.0)
