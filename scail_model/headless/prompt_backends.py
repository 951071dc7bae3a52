"""The two protocols of `scail2 prompt`: Gemini's, and OpenAI's, which vLLM, Ollama and llama.cpp speak too.

The clients are imported when they are needed. Keys come from the environment alone, and stand in no message.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Sequence
from json import JSONDecodeError
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..prompting.answer import CUT, REFUSED, WHOLE, Answer

GEMINI, OPENAI = "gemini", "openai"
GEMINI_MODEL = "gemini-3-flash-preview"  # official
UNREACHED, SLOW, NO_ANSWER = "unreached", "slow", "no answer"
_KEYS = {GEMINI: ("GEMINI_API_KEY", "GOOGLE_API_KEY"), OPENAI: ("OPENAI_API_KEY",)}
_ADDRESSES = {GEMINI: "GEMINI_BASE_URL", OPENAI: "OPENAI_BASE_URL"}
_PUBLIC = {GEMINI: "https://generativelanguage.googleapis.com", OPENAI: "https://api.openai.com/v1"}
_UNREADABLE = ValueError, TypeError, KeyError, AttributeError  # of the clients, for an answer in another form
_SPOKEN = "text", "output_text"  # kinds of parts of a message
_NO_KEY = "none"  # for servers of one's own, which ask for none


class ServerError(Exception):
    """What a server has answered in place of an answer, or that it has not. kind: UNREACHED, SLOW, NO_ANSWER or "" with
    a status. pause: seconds that it asks to wait for."""

    def __init__(self, kind: str, status: int = 0, text: str = "", pause: float | None = None) -> None:
        super().__init__(text)
        self.kind, self.status, self.text, self.pause = kind, status, text, pause


class Backend(Protocol):
    """A model on a server. address: as it is shown, without user and password, with the proxy on the way. keys: the
    variables a key comes from."""

    model: str
    address: str
    keys: str

    def ask(self, pictures: Sequence[bytes], text: str) -> Answer:
        """JPEG files and then a text. ServerError."""
        ...


def open_backend(kind: str, model: str | None, base_url: str | None, temperature: float, seconds: float) -> Backend:
    """seconds: after which an answer is no longer waited for. RuntimeError without a key, a model or an address."""
    given = (base_url or os.environ.get(_ADDRESSES[kind], "")).strip()
    url = given or _PUBLIC[kind]
    address = _shown(url, "--base_url" if base_url else _ADDRESSES[kind])
    names = " or ".join(_KEYS[kind])
    key = next((os.environ[name].strip() for name in _KEYS[kind] if os.environ.get(name, "").strip()), None)
    if key is None and not given:
        raise RuntimeError(f"There is no key for {address}: set {names} in the environment, or name a server of your "
                           "own with --base_url.")
    if key is not None and not re.fullmatch("[!-~]+", key):  # else the client would show it in its complaint
        raise RuntimeError(f"The key in {names} has characters that no key has, such as blanks or line breaks: copy it "
                           "again.")
    if not model:
        if kind == OPENAI or model is not None:
            raise RuntimeError("There is no model: name one of the server's with --model.")
        model = GEMINI_MODEL
    chosen = _Gemini if kind == GEMINI else _OpenAI
    return chosen(model, address, names, url, key, temperature, seconds)


def _shown(url: str, source: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        plain = url.rpartition("@")[2].partition("?")[0]
        raise RuntimeError(f"The address {plain} ({source}) is not one of a server: give it as in "
                           "http://127.0.0.1:8000/v1.")
    return f"{_bare(parts)}{_proxy(parts)}"


def _bare(parts: SplitResult) -> str:
    """An address without user, password and query."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _proxy(server: SplitResult) -> str:
    """How the proxy is shown that the environment names for a server; empty without one."""
    proxies = getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(server.netloc.rpartition("@")[2]):
        return ""
    return f" (through the proxy {proxy.rpartition('@')[2].rpartition('://')[2]})"


def _made(client: Callable[[], Any], address: str) -> Any:
    """A client. It reads proxies and certificates from the environment, and complains of them in many ways."""
    try:
        return client()
    except Exception as error:
        raise RuntimeError(f"The client for {address} does not start ({error}): check the address, and HTTP_PROXY, "
                           "HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE in the environment.") from error


class _Gemini:
    def __init__(self, model: str, address: str, keys: str, url: str, key: str | None, temperature: float,
                 seconds: float) -> None:
        from google.genai import Client, types  # not genai from google, which other packages bring along

        self.model, self.address, self.keys, self._key = model, address, keys, key
        self._config = types.GenerateContentConfig(temperature=temperature)
        options = types.HttpOptions(base_url=url, timeout=round(seconds * 1000),
                                    client_args={"follow_redirects": False})
        self._client = _made(lambda: Client(api_key=key or _NO_KEY, vertexai=False, http_options=options), address)

    def ask(self, pictures: Sequence[bytes], text: str) -> Answer:
        from google.genai import errors, types

        parts: Any = [*(types.Part.from_bytes(data=data, mime_type="image/jpeg") for data in pictures),
                      types.Part.from_text(text=text)]
        try:
            response: Any = self._client.models.generate_content(model=self.model, contents=parts, config=self._config)
        except errors.APIError as error:
            said = str(error.message or error.status or "")
            headers = getattr(error.response, "headers", None) or {}
            status = 401 if error.code == 400 and "api key" in said.lower() else error.code
            raise _refused(status, said, headers, self._key) from None
        except _UNREADABLE as error:
            raise _unreadable(error) from error
        except Exception as error:  # of httpx or httpx2, whichever the client has found
            raise _transport(error) from None
        return self._read(response)

    def _read(self, response: Any) -> Answer:
        blocked = response.prompt_feedback and response.prompt_feedback.block_reason
        if blocked:
            return Answer("", REFUSED, str(getattr(blocked, "value", blocked)))
        if not response.candidates:
            raise ServerError(NO_ANSWER, text="it has no candidates")
        first = response.candidates[0]
        parts = first.content.parts if first.content and first.content.parts else []
        text = "".join(part.text for part in parts if part.text and not part.thought)
        word = getattr(first.finish_reason, "value", first.finish_reason) or "STOP"
        ending = {"STOP": WHOLE, "FINISH_REASON_UNSPECIFIED": WHOLE, "MAX_TOKENS": CUT}.get(word, REFUSED)
        return Answer(text, ending, word)


class _OpenAI:
    def __init__(self, model: str, address: str, keys: str, url: str, key: str | None, temperature: float,
                 seconds: float) -> None:
        import openai

        self.model, self.address, self.keys, self._key = model, address, keys, key
        self._sampling: dict[str, Any] = {"temperature": temperature}
        self._client = _made(lambda: openai.OpenAI(
            api_key=key or _NO_KEY, base_url=url, timeout=seconds, max_retries=0,
            http_client=openai.DefaultHttpxClient(follow_redirects=False)), address)

    def ask(self, pictures: Sequence[bytes], text: str) -> Answer:
        import openai

        content: Any = [*({"type": "image_url", "image_url": {"url": _data_url(data)}} for data in pictures),
                        {"type": "text", "text": text}]
        try:
            response: Any = self._client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": content}], **self._sampling)
        except openai.APITimeoutError:
            raise ServerError(SLOW) from None
        except openai.APIStatusError as error:
            if error.status_code == 400 and self._sampling and "temperature" in str(error.message).lower():
                self._sampling = {}  # some models have a fixed one
                return self.ask(pictures, text)
            raise _refused(error.status_code, error.body, error.response.headers, self._key) from None
        except openai.APIConnectionError as error:
            raise ServerError(UNREACHED, text=str(error.__cause__ or error)) from None
        except (*_UNREADABLE, openai.APIResponseValidationError) as error:
            raise _unreadable(error) from error
        if wrong := getattr(response, "error", None):  # with a status of 200, from servers that ask others
            status = wrong.get("code") if isinstance(wrong, dict) else None
            raise _refused(status if isinstance(status, int) and status >= 400 else 500, wrong, {}, self._key)
        return _read_choice(response)


def _read_choice(response: Any) -> Answer:
    if isinstance(response, str):
        raise ServerError(NO_ANSWER, text="it is a stream" if response.startswith("data:") else "it is not JSON")
    choices = getattr(response, "choices", None)
    choice: Any = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    if message is None:
        raise ServerError(NO_ANSWER, text="it has no choices")
    if message.refusal:
        return Answer("", REFUSED, f'"{message.refusal}"')
    word = choice.finish_reason or "stop"
    ending = {"length": CUT, "content_filter": REFUSED}.get(word, WHOLE)
    return Answer(_text(message.content), ending, word)


def _text(content: Any) -> str:
    """Of a message, which is text, or parts of which those that think are left out."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") in _SPOKEN]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < max(len(texts), bool(parts)):
        raise ServerError(NO_ANSWER, text="its content is not text")
    return "".join(found)


def _refused(status: int, body: Any, headers: Any, key: str | None) -> ServerError:
    """What a server answers with a status of its own. body: its text, or what its JSON says of the error."""
    if isinstance(body, dict):
        body = next((body[name] for name in ("message", "detail", "error") if body.get(name)), "")
    text = "" if body is None or str(body).lstrip().startswith("<") else str(body)  # no pages of proxies
    if 300 <= status < 400:
        text = _bare(urlsplit(headers.get("location") or ""))
    return ServerError("", status, text.replace(key, "...") if key else text, _seconds(headers))


def _unreadable(error: Exception) -> ServerError:
    why = "it is not JSON" if isinstance(error, JSONDecodeError) else "it has another form"
    return ServerError(NO_ANSWER, text=why)


def _transport(error: Exception) -> ServerError:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "TimeoutException" in names:
        return ServerError(SLOW)
    if names & {"RequestError", "InvalidURL"}:
        return ServerError(UNREACHED, text=str(error))
    raise error


def _seconds(headers: Any) -> float | None:
    try:
        return float(headers.get("retry-after"))
    except (TypeError, ValueError):  # none, or a date
        return None


def _data_url(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
