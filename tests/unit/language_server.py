"""A server on this machine that speaks Gemini's protocol and OpenAI's, and answers as a test has told it to."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-of-the-test-4711"
CAPTION = ("In a sunny kitchen a man in a grey shirt lifts a pan with his right hand, turns to the window and puts the "
           "pan on the sill. The camera stands still.")
PROMPT = ("A tall woman with curly red hair stands in a sunny kitchen with white tiles. She wears a green linen dress "
          "and a straw hat. She lifts an iron pan with her right hand, turns slowly to the window on the left and sets "
          "the pan down on the wooden sill, then looks out into the garden. Soft morning light falls on her face. The "
          "camera stands still and shows her from the waist up.")
Reply = Callable[["Seen"], tuple[int, bytes, dict[str, str]]]


@dataclass
class Seen:
    """One request, whichever protocol it came by. number: of the requests so far, from 0."""

    number: int
    gemini: bool
    model: str
    temperature: float | None
    text: str
    pictures: list[bytes] = field(default_factory=list)
    key: str | None = None


class LanguageServer:
    """`reply` answers each request; `seen` holds them. secure: for HTTPS. Used with `with`."""

    def __init__(self, reply: Reply | None = None, secure: ssl.SSLContext | None = None) -> None:
        self.reply, self.seen = reply or answers(CAPTION, PROMPT), []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"{'https' if secure else 'http'}://127.0.0.1:{self._http.server_port}"
        if secure:
            self._http.socket = secure.wrap_socket(self._http.socket, server_side=True)

    def __enter__(self) -> LanguageServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seen = _seen(len(server.seen), self.path, body, self.headers)
                server.seen.append(seen)
                status, content, headers = server.reply(seen)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _seen(number: int, path: str, body: dict, headers: Any) -> Seen:
    if path == "/v1/chat/completions":
        content = body["messages"][0]["content"]
        pictures = [part["image_url"]["url"].split(",")[1] for part in content if part["type"] == "image_url"]
        assert [part["type"] for part in content] == ["image_url"] * len(pictures) + ["text"]
        return Seen(number, False, body["model"], body.get("temperature"), content[-1]["text"],
                    list(map(base64.b64decode, pictures)), (headers["Authorization"] or "").removeprefix("Bearer "))
    assert path.endswith(":generateContent"), path
    (content,) = body["contents"]
    pictures = [part["inlineData"]["data"] for part in content["parts"] if "inlineData" in part]
    assert [*content["parts"][-1]] == ["text"]
    return Seen(number, True, path.split("/")[-1].removesuffix(":generateContent"),
                body["generationConfig"]["temperature"], content["parts"][-1]["text"],
                [base64.urlsafe_b64decode(data) for data in pictures], headers["x-goog-api-key"])


def said(seen: Seen, text: str | None, ending: str = "stop") -> tuple[int, bytes, dict[str, str]]:
    """A complete answer. ending: in OpenAI's words."""
    if seen.gemini:
        word = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[ending]
        parts = {"parts": [{"text": text}], "role": "model"} if text is not None else {"role": "model"}
        return 200, json.dumps({"candidates": [{"content": parts, "finishReason": word}]}).encode(), {}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": ending}
    return 200, json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": seen.model,
                            "choices": [choice]}).encode(), {}


def answers(*texts: str | None, ending: str = "stop") -> Reply:
    """One after the other; the last one again and again."""
    return lambda seen: said(seen, texts[min(seen.number, len(texts) - 1)], ending)


def fails(status: int, message: str, times: int = 10**9, **headers: str) -> Reply:
    """As both protocols report errors, so many times; then a good answer."""
    def reply(seen: Seen) -> tuple[int, bytes, dict[str, str]]:
        if seen.number >= times:
            return said(seen, (CAPTION, PROMPT)[min(seen.number - times, 1)])
        named = {"retry_after": "Retry-After"}
        return status, json.dumps({"error": {"code": status, "message": message, "status": "FAILED"}}).encode(), {
            named[name]: value for name, value in headers.items()}

    return reply


def raw(content: bytes, kind: str = "application/json") -> Reply:
    return lambda seen: (200, content, {"Content-Type": kind})


def slow(seconds: float) -> Reply:
    def reply(seen: Seen) -> tuple[int, bytes, dict[str, str]]:
        time.sleep(seconds)
        return said(seen, PROMPT)

    return reply
