"""What a language model is asked for, in the order of the official prompt enhancer: first what happens in the driving
video, then the prompt for the reference picture. The official one knows replacement; animation has texts of our own."""

from __future__ import annotations

from dataclasses import dataclass

from ..identity.identities import ANIMATION, REPLACEMENT
from .examples import cut

WORDS = "90 to 140"  # official

_CAPTION = {
    REPLACEMENT: """\
Describe this video in one English paragraph, for somebody who cannot see it. Say what the scene and the
place are, the light, the framing and the background; what happens, how the main person moves, in which
order and how fast, and what the camera does; what that person wears, how they stand or sit, and which
objects they touch or hold. This person will later be somebody else, of whom you say nothing.""",
    ANIMATION: """\
Describe the motion in this video in one English paragraph, for somebody who cannot see it. Say what the
main person does, with which parts of the body, in which order and how fast; how they stand or sit, where
they look, what their face shows; which objects they touch or hold; and whether the whole body is seen or a
part of it. The person, their clothes and the place will later be others: say nothing of them.""",
}
_TASK = {
    REPLACEMENT: """\
A new video is made in which the character of the reference {picture} is seen in place of the main person.
Everything else stays as it was filmed. Write the prompt for it.

Rules:
- Describe the finished video, as if it had been filmed like this. Never mention that anything was changed:
  no words such as replace, swap, edit, original, mask, reference or image.
- Say nothing of the former person's face, hair, body or clothes. Keep their motion, pose, timing, place and
  what they do with objects.
- Describe the look and the visible clothes of the new character, as the {picture} {show} them.
- Name the objects that are touched or held.
- Keep the place, the light and the camera.""",
    ANIMATION: """\
A new video is made in which the character of the reference {picture} performs this motion, in the scene of
that picture. Write the prompt for it.

Rules:
- Describe the finished video, as if it had been filmed like this. Never mention how it was made: no words
  such as animate, transfer, edit, original, mask, reference or image.
- Describe the look and the visible clothes of the character, and the place, the light and the style of the
  scene, as the {picture} {show} them.
- Say how the character moves: the same actions in the same order and at the same speed. Say nothing of the
  person who was filmed, and nothing of the place they were filmed in.
- Name an object only if it is in the {picture} or the motion needs it.
- Keep the framing of the {picture}, and a still camera unless the motion needs another.""",
}
_FORM = f"""\
Answer with one English paragraph of about {WORDS} words in the present tense, and with nothing else: no
title, no list, no quotation marks, no comment."""
_USUAL = {REPLACEMENT: "The character takes the place of the main person.",
          ANIMATION: "The character performs the motion of the main person."}


@dataclass(frozen=True)
class Request:
    """What a prompt is wanted for. frames, references: how many pictures of each are shown. instruction: the user's own
    words, may be empty. examples: text that shows the style, cut to `most_characters`."""

    mode: str
    frames: int
    references: int
    instruction: str
    examples: str
    most_characters: int

    def caption(self) -> str:
        """The text of the first question, which is asked with the frames."""
        return f"{_flat(_CAPTION[self.mode])}\n\n{self._wish()}\n\n{self._sight()}"

    def prompt(self, caption: str) -> str:
        """The text of the second question, which is asked with the reference pictures."""
        return f"{self._task()}\n\nThe video:\n{caption}\n\n{self._rest()}"

    def both(self) -> str:
        """Both questions in one, asked with the frames and then the reference pictures in one batch."""
        last = "picture is" if self.references == 1 else f"{self.references} pictures are"
        return (f"{self._sight()} The last {last} not of that video: {self._pictures('the reference picture')}.\n\n"
                f"{self._task()}\n\n{self._rest()}")

    def _task(self) -> str:
        one = self.references == 1
        return _flat(_TASK[self.mode].format(picture="picture" if one else "pictures", show="shows" if one else "show"))

    def _rest(self) -> str:
        return (f"{self._wish()}\n\nExamples of the style:\n{cut(self.examples, self.most_characters)}\n\n"
                f"{_flat(_FORM)}")

    def _wish(self) -> str:
        return f"The user's instruction: {self.instruction.strip() or _USUAL[self.mode]}"

    def _sight(self) -> str:
        if self.frames == 1:
            return "The first picture is a frame of the video."
        return f"The first {self.frames} pictures are frames of the video in the order of time."

    def _pictures(self, one: str) -> str:
        return one if self.references == 1 else f"{one}s"


def again(question: str, wrong: str) -> str:
    """The same question after an answer that cannot be used; `wrong` ends "Your last answer"."""
    return f"{question}\n\nYour last answer {wrong}. Answer again, by the rules above."


def _flat(text: str) -> str:
    """Line breaks of this file's width taken out, those of lists kept."""
    paragraphs = text.split("\n\n")
    return "\n\n".join("\n".join(" ".join(item.split()) for item in paragraph.replace("\n- ", "\0- ").split("\0"))
                       for paragraph in paragraphs)
