"""Processes that believe to be on other hosts: real ones, that share a folder."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import time
import traceback
from contextlib import contextmanager

import psutil

from scail_model.files import holder, locks

BEAT, SILENCE = 0.1, 1.0  # seconds; the real ones take a minute


@contextmanager
def quick(silence=SILENCE):
    """Signs of life, and patience, that tests can wait for; for the processes started meanwhile too."""
    before = locks.BEAT, locks.SILENCE
    locks.BEAT, locks.SILENCE = BEAT, silence
    try:
        yield
    finally:
        locks.BEAT, locks.SILENCE = before


def on_host(name: str, work, *arguments, machine: str | None = None, skew: float = 0.0):
    """Start a process on a fake host; machine: letters as of another machine of the same name; skew: its clock is ahead
    by so many seconds."""
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(name, machine, skew, work, arguments), daemon=True)
    process.start()
    return process


def kill(process) -> None:
    """It is dead after, with all its threads, but not reaped."""
    os.kill(process.pid, signal.SIGKILL)
    dead = psutil.Process(process.pid)
    until(lambda: dead.status() == psutil.STATUS_ZOMBIE and dead.num_threads() == 1)


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def _work(name, machine, skew, work, arguments) -> None:
    platform.node = lambda: name
    if machine is not None:
        holder.machine = lambda: machine
    clock = time.time
    time.time = lambda: clock() + skew
    try:
        work(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
