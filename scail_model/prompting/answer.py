"""What a language model has answered: mended where that loses nothing, else what is wrong with it as a prompt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

MOST_TOKENS = 512  # of UMT5, that the model reads
_FEWEST_TOKENS = 30
_REPEATS = 3  # of a sentence, in a loop of a small model
_QUOTED = 60  # characters of an answer in a message
WHOLE, CUT, REFUSED = "whole", "cut", "refused"


@dataclass(frozen=True)
class Answer:
    """text: as it came. ending: WHOLE; CUT at the largest length; REFUSED, with the server's own word for it."""

    text: str
    ending: str = WHOLE
    word: str = ""


@dataclass(frozen=True)
class Fault:
    """what: ends a sentence that begins with "The answer". remedy: for the user. final: asking again does not help."""

    what: str
    remedy: str
    final: bool = False


_THINKING = r"(?:think|thinking|thought|thoughts|reasoning)"
_THOUGHT = re.compile(  # many templates write the opening mark themselves, so that only the closing one is answered
    rf"\A.*</{_THINKING}>|<({_THINKING})>.*?(</\1>|\Z)|\[THINK\].*?(\[/THINK\]|\Z)|"
    r"\A.*<\|channel\|>final<\|message\|>|<\|?channel\|?>(?:thought|analysis)\b.*?(<\|?(?:channel|end)\|?>|\Z)",
    re.DOTALL | re.IGNORECASE)
_TOKEN = re.compile(r"<\|[\w-]{1,30}\|>|<(?:end|start)_of_turn>|</?s>|<eos>|\[/?INST\]")  # that a decoder has left in
_BLANKS = " \t\r\n\ufeff\u200b\u200e\u200f"
_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)
_PREAMBLE = re.compile(r"\A(sure|certainly|of course|okay|ok|absolutely|here(?:'s| is| are)|below is|the following is)"
                       r"\b[^\n]{0,120}?[:!]\s*\n", re.IGNORECASE)
_NAME = r"(?:final |video |english )*(?:prompt|caption|description|answer|output)"
_LABEL = re.compile(rf"\A[\s*_#\"'“]{{0,4}}(here(?:'s| is)[^.:\n]{{0,80}}|{_NAME})\W{{0,3}}:\W{{0,3}}(?=\w)",
                    re.IGNORECASE)
_HEADING = re.compile(rf"\A[\s*_#=-]*{_NAME}[\s*_:=-]*\n", re.IGNORECASE)
_TAG = re.compile(r"\A<(prompt|answer|output|caption|response)>(.*)</\1>\Z", re.DOTALL | re.IGNORECASE)
_REMARK = re.compile("|".join((  # of the model, around the paragraph
    r"\n\s*\n\W*(?:note\W*:|let me know|would you like|feel free|i hope|hope this|if you(?:['’]d| )|i can also|"
    r"this (?:prompt|description)\b)[^\n]*\Z",
    r"\s*[(\[](?:about |~)?\d+ words[)\]]\.?\Z", r"\n\W*(?:word count\W*\d+(?: words)?|\d+ words)\W*\Z",
    r"\n\s*[-*_=]{3,}\s*\Z", r"\A\s*[-*_=]{3,}\s*\n")), re.IGNORECASE)
_SEVERAL = re.compile(r"\b(?:option|version|variant|variation|prompt|alternative) (?:\d|[A-C])\b\W{0,4}[:.)]",
                      re.IGNORECASE)
_WRAPPINGS = ('"', "'", "“”", "«»", "‘’", "`", "**", "*")

_REFUSAL = re.compile(r"\A\W*(?:i(?:'|’)?m (?:very |really )?(?:sorry|afraid|unable|not able)|sorry\b|as an ai\b|"
                      r"i (?:am (?:sorry|unable|not able)|can(?:no|['’])t|won['’]t|will not|must decline)|"
                      r"unfortunately, i\b|i apologi[sz]e|es tut mir leid|lo siento|je suis désolé|desculpe|"
                      r"(?:非常|很)?抱歉|对不起|對不起|申し訳|죄송|извините|к сожалению)", re.IGNORECASE)
_MARKUP = re.compile(r"^\s*(#{1,6} |[-*•] |\d+[.)] |\|)|\*\*|__\w|```|</?\w+>", re.MULTILINE)
_PICTURES = r"(?:image|picture|photo|photograph|frame|video|clip)s?"
_PEOPLE = r"(?:footage|person|man|woman|actor|actress|subject|character|scene|background)"
_EDITING = re.compile("|".join(rf"\b(?:{words})\b" for words in (
    r"replac(?:e[sd]?|ing|ements?)", r"swap(?:s|ped|ping)?", r"substitut\w+", r"inpaint\w*", r"composit(?:ed|ing)",
    r"edit(?:s|ed|ing)?", r"in(?:to)? place of the", r"instead of the (?:original|former)",
    r"(?:segmentation|colou?r|driving|binary) masks?", r"masked (?:area|region|person|subject)",
    rf"(?:reference|provided|supplied|given|input|source|uploaded|original|driving) {_PICTURES}",
    rf"original {_PEOPLE}", r"(?:motion|style) transfer", r"the (?:user|prompt)", r"finished video",
    r"this (?:prompt|description|paragraph)")), re.IGNORECASE)
_ORDER = re.compile(r"\A(keep|change|turn|transform|put|insert|remove|use|animate|make|generate|create|maintain|"
                    r"preserve|write|describe)(?![-\w])", re.IGNORECASE)
# full stops of all scripts; Thai, Lao and Khmer do without
_END = re.compile(r"[.!?…。｡．！？।۔؟։።॥။។\u0e00-\u0eff\u1780-\u17ff][\"'”’»)」』]*\Z")


def mended(text: str) -> str:
    """One paragraph without what models put around it: thoughts, fences, quotes, "Here is the prompt:", line breaks."""
    text = _TOKEN.sub("", _THOUGHT.sub("", text)).strip(_BLANKS)
    before = None
    while text != before:
        before = text
        text = _TAG.sub(r"\2", _FENCE.sub(r"\1", text)).strip()
        text = _unwrapped(_REMARK.sub("", _HEADING.sub("", text)).strip())
        text = _LABEL.sub("", _PREAMBLE.sub("", text)).strip()
    return text if _MARKUP.search(text) else re.sub(r"\s+", " ", text)


def answer_fault(answer: Answer) -> Fault | None:
    """What keeps an answer of any kind from being used."""
    text = mended(answer.text)
    if answer.ending == REFUSED or _REFUSAL.match(text):
        said = answer.word if answer.ending == REFUSED else quoted(text)
        return Fault(f"is a refusal ({said})", "change the instruction, or ask another model", final=True)
    if not text and answer.ending == CUT:
        return Fault("reaches the largest length of an answer before its first word", "allow longer answers, or ask a "
                                                                                     "model that thinks less")
    if not text:
        thought = " but for its thoughts" if answer.text.strip() else ""
        return Fault(f"is empty{thought}", "ask again, or ask another model")
    if answer.ending == CUT:
        return Fault(f"breaks off at the largest length of an answer ({quoted(text, last=True)})",
                     "allow longer answers, or ask a model that thinks less")
    if not any(letter.isalpha() for letter in text) or re.search(r"[\0-\x08\x0e-\x1f\ud800-\udfff�]", text):
        return Fault(f"is not text ({quoted(text)})", "ask another model")
    return None


def prompt_fault(text: str, tokens: Callable[[str], int] | None = None) -> Fault | None:
    """What keeps a mended answer from being a prompt. tokens: how many of UMT5 a text has; None for an estimate."""
    if text[:1] in "{[<":
        return Fault(f"is code and not a paragraph ({quoted(text)})", "ask another model")
    if found := _MARKUP.search(text):
        return Fault(f"is a list or has markup ({quoted(text[found.start():].strip())})", "ask again, or ask another "
                                                                                           "model")
    if found := _SEVERAL.search(text):
        return Fault(f"holds several prompts ({quoted(text[found.start():])})", "ask again, or ask another model")
    if found := _EDITING.search(text) or _ORDER.match(text):
        return Fault(f'says "{found[0]}", but a prompt describes the finished video and no edit', "change the "
                     "instruction, or ask another model")
    if not _END.search(text):
        return Fault(f"breaks off in a sentence ({quoted(text, last=True)})", "ask again, or ask another model")
    sentence, times = Counter(re.split(r"(?<=[.!?])\s+", text)).most_common(1)[0]
    if times >= _REPEATS:
        return Fault(f"repeats itself ({quoted(sentence)})", "ask with another seed, or ask another model")
    counted = (tokens or estimated_tokens)(text)
    about = "" if tokens else "about "
    if counted > MOST_TOKENS:
        return Fault(f"has {about}{counted} tokens, and the model reads {MOST_TOKENS}", "ask for a shorter one in the "
                                                                                        "instruction")
    if counted < _FEWEST_TOKENS:
        return Fault(f"has only {about}{counted} tokens ({quoted(text)})", "ask for more in the instruction, or ask "
                                                                           "another model")
    return None


def estimated_tokens(text: str) -> int:
    """How many tokens UMT5 makes of a text, about: its 256,000 pieces hold most short words of the large languages as a
    whole, and single characters of the others."""
    words = sum(-(-len(word) // 6) for word in re.findall(r"[^\W\d_一-鿿぀-ヿ가-힯]+", text))
    return words + len(re.findall(r"[\d_一-鿿぀-ヿ가-힯]|[^\w\s]", text)) + 1


def quoted(text: str, *, last: bool = False) -> str:
    """The beginning or the end of an answer, as it stands in a message."""
    flat = " ".join(text.split())
    if len(flat) <= _QUOTED:
        return f'"{flat}"'
    return f'"...{flat[-_QUOTED:]}"' if last else f'"{flat[:_QUOTED]}..."'


def _unwrapped(text: str) -> str:
    for marks in _WRAPPINGS:
        first, last = (marks[0], marks[1]) if len(marks) == 2 and marks[0] != marks[1] else (marks, marks)
        inner = text[len(first) : -len(last)]
        if len(text) >= len(first + last) and text.startswith(first) and text.endswith(last) and first not in inner:
            return inner.strip()
    return text
