"""Examples that show a language model the style of a prompt: our own for each mode, or a user's file."""

from __future__ import annotations

from pathlib import Path

MOST_CHARACTERS = 4000  # official
NO_EXAMPLES = "(No examples provided.)"  # official


def own_examples(mode: str) -> str:
    """Of a mode, "replacement" or "animation"."""
    return Path(__file__).with_name(f"examples_{mode}.txt").read_text(encoding="utf-8").strip()


def read_examples(path: Path) -> str:
    """A user's file, plain text in UTF-8. RuntimeError if it cannot be read or is something else."""
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise RuntimeError(f"The examples file {path} cannot be read ({error.strerror}): check the path.") from error
    except UnicodeDecodeError as error:
        raise RuntimeError(f"The examples file {path} is not plain text in UTF-8 (byte {error.start}): save it as "
                           "such.") from error


def cut(examples: str, most: int = MOST_CHARACTERS) -> str:
    """At most `most` characters of them, as they stand in a request. ValueError for a negative number."""
    if most < 0:
        raise ValueError(f"The number of characters of examples is {most}: give 0 or more.")
    return examples[:most].strip() or NO_EXAMPLES
