"""Core's text generation models: a CLIP that is asked with pictures, and what it can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from ..prompting.answer import CUT, WHOLE, Answer
from ..prompting.pictures import batch, sheet

# of core's own node for text
_SAMPLING = {"top_k": 64, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.05}
_IN_ONE = "All pictures lie side by side in one picture, to be read row by row."


class TextModel:
    """The `Ask` of `prompting.writing`. ValueError for a CLIP that writes no text or sees no pictures.

    temperature: 0 always takes the likeliest token. most: tokens of an answer.
    """

    def __init__(self, clip: Any, temperature: float, most: int, seed: int) -> None:
        if not _writes(clip):
            raise ValueError("The clip only encodes text and writes none: load a text generation model that sees "
                             "pictures, such as Qwen3-VL or Gemma 4.")
        self._clip, self._temperature, self._most, self._seed = clip, temperature, most, seed

    def __call__(self, pictures: Sequence[Tensor], text: str, attempt: int) -> Answer:
        """pictures: [h, w, 3] in 0..1."""
        written = self._clip.generate(self._tokens(pictures, text), do_sample=self._temperature > 0,
                                      max_length=self._most, temperature=self._temperature, seed=self._seed + attempt,
                                      **_SAMPLING)
        return Answer(self._clip.decode(written), CUT if len(written) >= self._most else WHOLE)

    def _tokens(self, pictures: Sequence[Tensor], text: str) -> Any:
        """Tokenizers of core take pictures as a list, as a batch, or one; which of them it is, their tokens tell."""
        together = sheet(pictures)[None]
        for found, given in (
                (len(pictures), {"images": [picture[None] for picture in pictures]}),
                (len(pictures), {"image": batch(pictures)}),
                (1, {"images": [together], "image": together})):
            asked = text if found == len(pictures) else f"{_IN_ONE}\n\n{text}"
            tokens = self._clip.tokenize(asked, skip_template=False, min_length=1, thinking=False, **given)
            if sum(1 for _ in _pictures_in(tokens)) == found:
                return tokens
        raise ValueError("The clip writes text but sees no pictures: load a text generation model that sees them, such "
                         "as Qwen3-VL or Gemma 4.")


def token_counter(clip: Any) -> Callable[[str], int]:
    """How many tokens a prompt has for its text encoder, without those that fill it up."""
    def count(text: str) -> int:
        (batches, *_) = clip.tokenize(text).values()
        return sum(1 for tokens in batches for token in tokens if token[0] != 0)  # UMT5's padding

    return count


def _writes(clip: Any) -> bool:
    """Every CLIP of core has `generate`; whether its network has it is seen on the network."""
    model = getattr(clip, "cond_stage_model", None)
    part = getattr(model, getattr(model, "clip", ""), None)
    network = getattr(part, "transformer", None)
    return hasattr(model, "generate") and (network is None or hasattr(network, "generate"))


def _pictures_in(tokens: Any) -> Iterator[dict]:
    for batches in tokens.values():
        for sequence in batches:
            yield from (token[0] for token in sequence if isinstance(token[0], dict) and token[0]["type"] == "image")
