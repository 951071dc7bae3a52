"""A prompt written by a language model, whichever it is: what it is asked, and what becomes of its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .answer import MOST_TOKENS, Answer, Fault, answer_fault, estimated_tokens, mended, prompt_fault
from .instructions import Request, again

_MOST_ATTEMPTS = 1  # after the first: told what is wrong, a model can mend its answer


class Ask(Protocol):
    def __call__(self, pictures: Sequence[Tensor], text: str, attempt: int) -> Answer:
        """One question to the model. attempt: 0, or 1 when it is asked again. RuntimeError if there is no answer."""
        ...


@dataclass(frozen=True)
class Written:
    """caption: what happens in the driving video. tokens: of the prompt; exact: counted by UMT5's tokenizer."""

    prompt: str
    caption: str
    tokens: int
    exact: bool

    def size(self) -> str:
        about = "" if self.exact else "about "
        return f"{len(self.prompt.split())} words, {about}{self.tokens} of {MOST_TOKENS} tokens"


class Writer:
    """Asks a model for the two texts of a request. who: the model, in sentences. say: is told what goes on."""

    def __init__(self, ask: Ask, who: str, say: Callable[[str], None],
                 tokens: Callable[[str], int] | None = None) -> None:
        self._ask, self._who, self._say, self._tokens = ask, who, say, tokens

    def caption(self, request: Request, frames: Sequence[Tensor]) -> str:
        """What happens in the frames. Raises RuntimeError, as `prompt` does."""
        self._say(f"{self._who} describes the video")
        return self._answered(frames, request.caption(), lambda text: None)

    def prompt(self, request: Request, references: Sequence[Tensor], caption: str) -> Written:
        """The prompt. Raises RuntimeError, in one sentence, for an answer that is none after it was asked for again."""
        self._say(f"{self._who} writes the prompt")
        text = self._answered(references, request.prompt(caption), lambda text: prompt_fault(text, self._tokens))
        return Written(text, caption, (self._tokens or estimated_tokens)(text), self._tokens is not None)

    def _answered(self, pictures: Sequence[Tensor], question: str, judge: Callable[[str], Fault | None]) -> str:
        text, attempt = question, 0
        while True:
            answer = self._ask(pictures, text, attempt)
            usable = mended(answer.text)
            fault = answer_fault(answer) or judge(usable)
            if fault is None:
                return usable
            if fault.final or attempt == _MOST_ATTEMPTS:
                raise RuntimeError(f"The answer of {self._who} {fault.what}: {fault.remedy}.")
            self._say(f"The answer of {self._who} {fault.what}: asked once more")
            text, attempt = again(question, fault.what), attempt + 1


def checked(answer: str, tokens: Callable[[str], int] | None = None) -> Written:
    """An answer that another program has brought, as a prompt. RuntimeError, in one sentence, if it is none."""
    usable = mended(answer)
    fault = answer_fault(Answer(answer)) or prompt_fault(usable, tokens)
    if fault is not None:
        raise RuntimeError(f"The prompt {fault.what}: {fault.remedy}.")
    return Written(usable, "", (tokens or estimated_tokens)(usable), tokens is not None)
