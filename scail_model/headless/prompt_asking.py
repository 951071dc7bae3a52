"""A model on a server, asked with patience: again when it is busy, in a thread that Ctrl-C does not wait for, and with
one sentence for everything that goes wrong."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from threading import Thread
from time import monotonic, sleep
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..prompting.answer import Answer, quoted
from .prompt_backends import NO_ANSWER, SLOW, UNREACHED, Backend, ServerError

PAUSES = (2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before a server that is busy or broken is asked again
_LONGEST_PAUSE = 120.0
_JPEG_QUALITY = 92  # official
_LONGEST_SIDE = 1280  # pixels; the models scale larger ones down themselves
_GLANCE = 0.2  # seconds between two looks, on Windows at Ctrl-C too
T = TypeVar("T")


class PatientAsker:
    """The `Ask` of `prompting.writing`. say: is told of pauses. RuntimeError, in one sentence, without an answer."""

    def __init__(self, backend: Backend, say: Callable[[str], None], seconds: float) -> None:
        self._backend, self._say, self._seconds = backend, say, seconds

    def __call__(self, pictures: Sequence[Tensor], text: str, attempt: int) -> Answer:
        files = [jpeg(picture) for picture in pictures]
        pauses = iter(PAUSES)
        while True:
            try:
                return waited(lambda: self._backend.ask(files, text))
            except ServerError as error:
                pause = self._pause(error, next(pauses, None))
                if pause is None:
                    raise RuntimeError(self._sentence(error)) from None
                self._say(f"{self._backend.address} is busy ({_said(error)}): asked again in {pause:g} s")
                _rest(pause)

    def _pause(self, error: ServerError, usual: float | None) -> float | None:
        """Seconds after which asking again makes sense; None if it does not."""
        if usual is None or not (error.status in (408, 429) or error.status >= 500):
            return None
        pause = usual if error.pause is None else max(usual, error.pause)
        return pause if pause <= _LONGEST_PAUSE else None

    def _sentence(self, error: ServerError) -> str:
        model, address = self._backend.model, self._backend.address
        if error.kind == UNREACHED and "CERTIFICATE_VERIFY_FAILED" in error.text:
            return (f"The certificate of {address} is not trusted ({error.text}): name a file with it in SSL_CERT_FILE "
                    "in the environment.")
        if error.kind == UNREACHED:
            return (f"{address} cannot be reached ({error.text}): check the address, http or https, and that the "
                    "server runs.")
        if error.kind == SLOW:
            return (f"{address} has not answered within {self._seconds:g} s: wait longer with --timeout, or choose a "
                    "faster model.")
        if error.kind == NO_ANSWER:
            return (f"What {address} has sent is not an answer of this protocol ({error.text}): check --backend and "
                    "--base_url.")
        if 300 <= error.status < 400:
            return (f"{address} sends on to {error.text or 'another place'} ({error.status}): give the address of that "
                    "server with --base_url.")
        if error.status in (401, 403):
            return (f"{address} does not accept the key ({error.status}): check {self._backend.keys} in the "
                    "environment.")
        if error.status == 404:
            return (f"There is no model {model} at {address} ({_said(error)}): check --model and --base_url; addresses "
                    "of OpenAI's protocol end with /v1.")
        if error.status == 429:
            return (f"{address} still has too many requests ({_said(error)}): wait, or look at the limits of your "
                    "account.")
        if error.status >= 500:
            return f"{address} is broken or overloaded ({_said(error)}): try again later."
        return (f"{address} refuses the request for {model} ({_said(error)}): check that the model sees pictures and "
                "takes --temperature, or show it fewer frames.")


def _said(error: ServerError) -> str:
    return f"{error.status}, {quoted(error.text)}" if error.text else f"{error.status}"


def jpeg(picture: Tensor) -> bytes:
    """uint8 [h, w, 3] as a JPEG file of at most 1280 pixels on each side."""
    assert picture.dtype == torch.uint8
    image = Image.fromarray(picture.numpy())
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def waited(work: Callable[[], T]) -> T:
    """What a function returns or raises, run in a thread that a program's end does not wait for."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it is, it is raised below
            done.set_exception(error)

    Thread(target=run, name="scail2-ask", daemon=True).start()
    while not wait([done], _GLANCE).done:
        pass
    return done.result()


def _rest(seconds: float) -> None:
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        sleep(min(left, _GLANCE))
