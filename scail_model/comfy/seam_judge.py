"""Verdicts on the seams between segments, made in a thread while the next segments are sampled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from torch import Tensor

from ..drift import measure
from ..drift.seam_check import seam_verdict
from ..identity.identities import Identities
from ..masks import people

_MOST_VERDICTS = 10_000

log = logging.getLogger(__name__)
_verdicts: dict[tuple[str, str], str] = {}  # by the names of two parts, which stand for their content


class SeamJudge:
    """One at a time. size: (height, width) of the result. tell: called with a segment, counted from 0, and the verdict
    on the seam at which it begins."""

    def __init__(self, identities: Identities, size: tuple[int, int], tell: Callable[[int, str], None]) -> None:
        self.identities, self.size, self.tell = identities, size, tell
        self._thread = ThreadPoolExecutor(1, "scail2")

    def judge(self, segment: int, begin: int, before: Path, after: Path) -> None:
        """Have the seam judged between two finished parts; `begin` is the first driving frame after it."""
        self._thread.submit(self._judge, segment, begin, before, after)

    def close(self, *, cancel: bool) -> None:
        """Take no more seams. Those that wait are still judged, unless `cancel`; the caller does not wait for them."""
        self._thread.shutdown(wait=False, cancel_futures=cancel)

    def _judge(self, segment: int, begin: int, before: Path, after: Path) -> None:
        key = before.name, after.name
        try:
            if key not in _verdicts:
                # in replacement only the people are new
                masked = partial(self._people, begin) if self.identities.replacement else None
                _verdicts[key] = seam_verdict(before, after, masked)
        except Exception as error:  # such as a part that was removed meanwhile
            log.warning("SCAIL-2: the seam before segment %d could not be judged (%s)", segment + 1, error)
            return
        if len(_verdicts) > _MOST_VERDICTS:
            del _verdicts[next(iter(_verdicts))]
        self.tell(segment, _verdicts[key])

    def _people(self, begin: int, index: int) -> Tensor:
        """Where people are in frame begin + index, bool [H, W]."""
        labels = self.identities.driving_labels(begin + index, begin + index + 1)[0]
        return measure.cover_mask(people(labels), *self.size)
