"""Locks between processes of several hosts: one at a time, and nobody waits for the dead."""

from __future__ import annotations

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hosts import SILENCE, kill, on_host, quick, until

from scail_model.files import locks
from scail_model.files.holder import Holder, host, machine, me
from scail_model.files.locks import held, locked


@pytest.fixture(autouse=True)
def _quick():
    with quick():
        yield


def hold(path, told=None, seconds=60.0):
    with locked(path, "working", "wait"):
        if told is not None:
            told.touch()
        time.sleep(seconds)


def take(path, **how):
    """Seconds until a lock was had."""
    started = time.monotonic()
    with locked(path, "working", "wait", **how):
        return time.monotonic() - started


def as_holder(path, **values):
    """A lock file as a process leaves it that is killed."""
    text = json.dumps({"token": "x", "since": time.time(), **vars(me()), **values})
    path.write_text(text, encoding="utf-8")


def left(folder):
    return [path.name for path in folder.iterdir()]


def test_a_lock_is_held_once_and_leaves_nothing(tmp_path):
    path = tmp_path / "made/.lease"
    with locked(path, "working", "wait"):
        assert held(path).startswith(f"process {os.getpid()} on {host()}, since 20")
        with pytest.raises(RuntimeError) as error:
            take(path)
        assert str(error.value) == f"Another run is working: wait ({held(path)})."
    assert held(path) is None
    assert left(path.parent) == []


@pytest.mark.parametrize(("where", "how"), [
    ("this host", {}), ("another host", {}),
    pytest.param("a machine of the same name", {"machine": "0123abcd"}, marks=pytest.mark.slow),
    ("a host whose clock is a day ahead", {"skew": 86400.0}),
])
class TestHeld:
    """By a process at another place, which lives or is killed."""

    @pytest.fixture
    def holding(self, tmp_path, where, how):
        path, told = tmp_path / ".lease", tmp_path / "told"
        name = host() if where in ("this host", "a machine of the same name") else "anna"
        process = on_host(name, hold, path, told, **how)
        until(told.exists)
        told.unlink()
        yield path, process
        process.kill()

    def test_it_is_refused_while_the_holder_lives(self, holding, tmp_path):
        path, process = holding
        started = time.monotonic()
        with pytest.raises(RuntimeError, match=rf"\(process {process.pid} on "):
            take(path)
        assert time.monotonic() - started < SILENCE
        time.sleep(1.5 * SILENCE)  # it shows that it lives
        assert held(path)
        assert left(tmp_path) == [".lease"]

    def test_it_is_had_after_the_holder_was_killed(self, holding, tmp_path, where):
        """Without being reaped, as in a container."""
        path, process = holding
        kill(process)
        waited = take(path)
        assert waited < (0.5 if where == "this host" else SILENCE + 1)
        assert left(tmp_path) == []

    def test_it_is_waited_for(self, holding):
        path, process = holding
        heard, started = [], time.monotonic()

        def waiting(text):
            heard.append((time.monotonic() - started, text))
            if len(heard) == 4:
                kill(process)

        take(path, waiting=waiting)
        assert "working: wait (process" in heard[0][1]
        assert max(b[0] - a[0] for a, b in zip(heard, heard[1:], strict=False)) < 0.5  # seconds until it can be stopped

    def test_waiting_can_be_stopped(self, holding):
        path, process = holding
        with pytest.raises(KeyboardInterrupt):
            take(path, waiting=stop)
        assert process.is_alive()
        assert held(path)


def stop(_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("kind", "values", "soon"), [
    ("a process that is gone", {"process": 2**22 + 1}, True),
    ("our own number, as in a container that was started anew", {"process": os.getpid(), "started": 5}, True),
    ("a number that another process has by now", {"process": os.getppid(), "started": 5}, False),
    ("the same machine before it was started anew", {"machine": "00000000"}, False),
    ("number 1 of another container of this name", {"machine": "00000000", "process": 1}, False),
    ("a field of another version", {"host": None, "more": 1}, False),
])
def test_whom_a_dead_lock_names(tmp_path, kind, values, soon):
    as_holder(tmp_path / ".lease", **values)
    waited = take(tmp_path / ".lease")
    assert waited < 0.5 if soon else 0.5 < waited < SILENCE + 1
    assert left(tmp_path) == []


def test_a_lock_that_says_nothing_is_had_when_it_has_been_silent(tmp_path):
    contents = b"", b"{", b"12\nhost\n", b"null", b"\xff\xfe"
    paths = [tmp_path / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    with ThreadPoolExecutor(len(paths)) as threads:
        for content, waited in zip(contents, threads.map(take, paths), strict=True):
            assert 0.5 < waited < SILENCE + 1, content


def test_a_silent_lock_is_not_waited_for(tmp_path):
    as_holder(tmp_path / ".lease", host="anna")
    os.utime(tmp_path / ".lease", (0, 0))
    assert held(tmp_path / ".lease") is None
    assert take(tmp_path / ".lease") < 0.2


def contend(path, inside, told, name):
    for _ in range(5):
        with locked(path, "working", "wait", waiting=lambda _: None):
            with open(inside, "x"):  # FileExistsError if another one is in here
                time.sleep(random.uniform(0, 0.01))
            inside.unlink()
        time.sleep(random.uniform(0, 0.01))
    (told / name).touch()


@pytest.mark.parametrize("attempt", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 3))])
@pytest.mark.parametrize("dies", ["in its work", "while it takes a dead one's place"])
def test_of_many_hosts_that_find_a_dead_holder_one_wins(tmp_path, dies, attempt, monkeypatch):
    monkeypatch.setattr(locks, "_POLL", 0.01)
    folder, told = tmp_path / "jobs", tmp_path / "told"
    folder.mkdir()
    told.mkdir()
    path = folder / ".lease"
    as_holder(path, host="gone")
    if dies == "while it takes a dead one's place":
        mark = locks.Mark(path)
        monkeypatch.setattr(os, "replace", stop_replacing)
        with suppress(KeyboardInterrupt), monkeypatch.context() as patched:
            patched.setattr(locks.Path, "unlink", lambda *_, **__: None)
            locks._replaced(mark, locks.read(path))
        monkeypatch.undo()
        monkeypatch.setattr(locks, "_POLL", 0.01)
        for claim in folder.glob(".lease.*.0"):
            as_holder(claim, host="gone too")
        assert len(left(folder)) == 3
    processes = [on_host(f"host-{number}", contend, path, folder / "inside", told, str(number))
                 for number in range(6)]
    for process in processes:
        process.join(30)
    assert len(left(told)) == 6
    assert not {".lease", "inside"} & set(left(folder))
    assert [name for name in left(folder) if name.endswith(".0")] == []


def stop_replacing(*_):
    raise KeyboardInterrupt


def test_the_folder_of_a_held_lock_goes(tmp_path):
    path = tmp_path / "job/.lease"
    with locked(path, "working", "wait"):
        os.rename(tmp_path / "job", tmp_path / "away")
        with locked(path, "working", "wait"):  # a new folder
            time.sleep(0.3)
            assert held(path)
        assert left(tmp_path / "job") == []
    assert left(tmp_path / "away") == [".lease"]


def test_who_slept_too_long_does_not_take_the_lock_of_who_came_after(tmp_path, caplog):
    path = tmp_path / ".lease"
    with locked(path, "working", "wait"):
        as_holder(path, host="anna", token="theirs")
        theirs = path.read_bytes()
        until(lambda: "taken over" in caplog.text)
    assert path.read_bytes() == theirs


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError):  # noqa: PT011
        take(tmp_path / "file/.lease")


def test_a_process_is_told_from_others(tmp_path):
    own = me()
    assert own.lives
    assert Holder(own.host, own.machine, own.process, own.started + 60).lives is False
    assert Holder("anna", own.machine, own.process, own.started).lives is None
    assert Holder(own.host, "00000000", own.process, own.started).lives is None
    assert len(machine()) == 8
