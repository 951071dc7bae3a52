"""A prompt written by a language model, whichever it is: what it is asked, and what becomes of its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .answer import MOST_TOKENS, Answer, Fault, answer_fault, estimated_tokens, mended, prompt_fault
from .instructions import Request, again

_ASKED = 2  # times for each of the two texts: with a second one, most models mend their answer


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
        return f"{len(self.prompt.split())} words, {'' if self.exact else 'about '}{self.tokens} of {MOST_TOKENS} tokens"


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
        text = question
        for attempt in range(_ASKED):
            answer = self._ask(pictures, text, attempt)
            usable = mended(answer.text)
            fault = answer_fault(answer) or judge(usable)
            if fault is None:
                return usable
            if fault.final or attempt == _ASKED - 1:
                break
            self._say(f"The answer of {self._who} {fault.what}: asked once more")
            text = again(question, fault.what)
        raise RuntimeError(f"The answer of {self._who} {fault.what}: {fault.remedy}.")


def checked(answer: str, tokens: Callable[[str], int] | None = None) -> Written:
    """An answer that another program has brought, as a prompt. RuntimeError, in one sentence, if it is none."""
    usable = mended(answer)
    fault = answer_fault(Answer(answer)) or prompt_fault(usable, tokens)
    if fault is not None:
        raise RuntimeError(f"The prompt {fault.what}: {fault.remedy}.")
    return Written(usable, "", (tokens or estimated_tokens)(usable), tokens is not None)
