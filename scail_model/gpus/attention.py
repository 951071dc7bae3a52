"""Self-attention of a block whose rows lie on several GPUs: rows for linears, heads for attention.

Each GPU computes queries, keys and values of its own rows, sends every other GPU that one's heads of them, attends with
its own heads to the whole sequence, and sends each row's result back to where the row lies (DeepSpeed-Ulysses, arXiv
2309.14509). Keys and values travel while queries are computed. A GPU's own queries need not travel: half of the own
rows comes first, while the others' queries arrive, and half last, while the others' results travel back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from . import links
from .rows import TILE, rows_of, shifted, size, within
from .team import Rank

ACROSS = "scail2_across"  # the key of an `Across` in `transformer_options`

Attend = Callable[[Tensor], Tensor]
Projections = Sequence[Callable[[], Tensor]]


class Across:
    """How one forward lies on the GPUs. asked: by rank, the rows of the sequence that the current block computes."""

    def __init__(self, rank: Rank, tokens: int, video: slice) -> None:
        self.rank, self.video = rank, video
        self.rows = self.asked = rows_of(tokens, rank.count)

    @property
    def own(self) -> slice:
        return self.rows[self.rank.number]

    def video_only(self) -> slice:
        """From now on only the video's rows are asked for. Returns the own ones, counted from the first own row."""
        self.asked = [within(rows, self.video) for rows in self.rows]
        return shifted(self.asked[self.rank.number], -self.own.start)

    @property
    def first_of_video(self) -> int:
        """Number of the first own row of the video in the whole sequence."""
        return within(self.own, self.video).start

    def attended(self, project: Projections, prepare: Callable[[Tensor, Tensor], Attend], *, of_all: bool,
                 together: bool) -> Tensor:
        """Attention of the own rows that are asked for, [B, n, dim].

        project: compute keys and values of the own rows and the queries that are asked for, [B, n, dim] each, in this
        order. prepare: keys and values [B, L, own heads * 128] -> attention as a function of queries. together: whether
        it must get all queries at once; of_all: those of all rows, whatever is asked for.
        """
        asked = self.rows if of_all else self.asked
        exchange = _Exchange(self.rank, self.rows, asked)
        for what, compute in zip((_KEYS, _VALUES, _QUERIES), project, strict=True):
            # products in 8 bits do not take no rows at all
            exchange.send(what, compute() if what != _QUERIES or exchange.asks_here else exchange.no_rows())
        exchange.open_results()
        attend = prepare(exchange.arrived(_KEYS), exchange.arrived(_VALUES))
        for part in exchange.parts(together or of_all):
            exchange.send_back(part, attend(exchange.queries[:, part]))
        del attend  # with keys and values
        return exchange.result()[:, shifted(self.asked[self.rank.number], -asked[self.rank.number].start)]

    def collected(self, x: Tensor) -> Tensor:
        """The video's rows [B, n, C] of all ranks on the first one; no rows on the others."""
        rank = self.rank
        if rank.number:
            target, ready = rank.get(0)
            event = links.copy(x.contiguous(), target, (links.mark(rank.device), ready))
            rank.put(0, event)
            links.wait(rank.device, event)
            return x[:, :0]
        whole = x.new_empty(x.shape[0], size(self.video), x.shape[2])
        ready = links.mark(rank.device)
        places = [shifted(within(rows, self.video), -self.video.start) for rows in self.rows]
        for other in rank.others:
            rank.put(other, (whole[:, places[other]], ready))
        whole[:, places[0]] = x
        for other in rank.others:
            links.wait(rank.device, rank.get(other))
        return whole


_KEYS, _VALUES, _QUERIES, _RESULTS = "keys", "values", "queries", "results"
_Memory = tuple[Tensor, links.Event]  # and when it may be written


class _Exchange:
    """One block's. rows, asked: of the whole sequence, by rank.

    Each rank has memory for the keys and values of all rows and for the queries that are asked for, [B, rows, own heads
    * 128], and for the results of its own rows, by the rank whose heads they are. The others write there.
    """

    def __init__(self, rank: Rank, rows: Sequence[slice], asked: Sequence[slice]) -> None:
        self.rank, self.rows = rank, rows
        some = [part for part in asked if size(part)]
        whole = slice(some[0].start, some[-1].stop)  # a rank that has none of them may lie before or after
        self.asked = [shifted(within(whole, part), -whole.start) for part in asked]
        self._own: dict[str, Tensor] = {}
        self._arriving: dict[str, list[links.Event]] = {}
        self._leaving: list[tuple[Tensor, links.Event]] = []
        self._results: list[Tensor] = []
        self._theirs: dict[int, _Memory] = {}
        self._returned: dict[int, links.Event] = {}

    @property
    def _mine(self) -> slice:
        return self.asked[self.rank.number]

    @property
    def asks_here(self) -> bool:
        """Whether own rows are asked for."""
        return size(self._mine) > 0

    def no_rows(self) -> Tensor:
        """Of all heads, as what was sent before."""
        like = self._own[_KEYS]
        return like.new_empty(like.shape[0], 0, like.shape[2] * self.rank.count)

    @property
    def queries(self) -> Tensor:
        """That are asked for, of all ranks' rows: [B, n, own heads * 128]."""
        return self._own[_QUERIES]

    def send(self, what: str, x: Tensor) -> None:
        """Own rows x [B, n, dim] of all heads, each head to its rank."""
        heads = x.split(x.shape[-1] // self.rank.count, dim=-1)
        rows = self.asked if what == _QUERIES else self.rows
        place = rows[self.rank.number]
        own = self._own[what] = x.new_empty(x.shape[0], rows[-1].stop, heads[0].shape[-1])
        theirs = self._swapped({other: own for other in self.rank.others})
        self._release()  # what was sent before has left by now
        for other, (memory, ready) in theirs.items():
            self.rank.put(other, self._give(heads[other].contiguous(), memory[:, place], ready))
        own[:, place] = heads[self.rank.number]
        self._arriving[what] = [self.rank.get(other) for other in self.rank.others]

    def _swapped(self, own: dict[int, Tensor]) -> dict[int, _Memory]:
        """What the other ranks give in exchange for memory here."""
        ready = links.mark(self.rank.device)
        for other, memory in own.items():
            self.rank.put(other, (memory, ready))
        return {other: self.rank.get(other) for other in own}

    def _give(self, x: Tensor, target: Tensor, ready: links.Event) -> links.Event:
        arrived = links.copy(x, target, (links.mark(self.rank.device), ready))
        self._leaving.append((x, arrived))
        return arrived

    def arrived(self, what: str) -> Tensor:
        """Of all rows and own heads, for what is computed from now on; it is not kept here."""
        self._await(what)
        return self._own.pop(what)

    def _await(self, what: str) -> None:
        for event in self._arriving.pop(what):
            links.wait(self.rank.device, event)

    def open_results(self) -> None:
        """Memory for the results of the own rows, before attention begins."""
        like, own = self.queries, size(self._mine)
        self._results = [like.new_empty(like.shape[0], own, like.shape[2]) for _ in range(self.rank.count)]
        self._theirs = self._swapped({other: self._results[other] for other in self.rank.others})

    def parts(self, together: bool) -> Iterator[slice]:
        """The rows that are asked for, in the order in which they are attended."""
        mine, whole = self._mine, slice(0, self.asked[-1].stop)
        middle = mine.start + size(mine) // 2 // TILE * TILE
        order = [whole] if together else [slice(mine.start, middle), slice(0, mine.start),
                                          slice(mine.stop, whole.stop), slice(middle, mine.stop)]
        for place, part in enumerate(order):
            if together or place == 1:
                self._await(_QUERIES)
                self._release()
            if size(part):
                yield part

    def send_back(self, part: slice, y: Tensor) -> None:
        """Attention y [B, n, own heads * 128] of rows that are asked for, each row to its rank."""
        for number, rows in enumerate(self.asked):
            there = within(part, rows)
            piece, place = y[:, shifted(there, -part.start)], shifted(there, -rows.start)
            if number == self.rank.number:
                self._results[number][:, place] = piece
            elif size(there):
                memory, ready = self._theirs[number]
                self._returned[number] = self._give(piece, memory[:, place], ready)

    def result(self) -> Tensor:
        """The own rows that are asked for, of all heads: [B, n, dim]."""
        self._own.clear()
        self._theirs.clear()  # before they are told: it is theirs to give back
        for other in self.rank.others:
            self.rank.put(other, self._returned.get(other))
        for other in self.rank.others:
            links.wait(self.rank.device, self.rank.get(other))
        self._release()
        return torch.cat(self._results, dim=-1)

    def _release(self) -> None:
        """Give back the memory of what has left, to what is computed from now on."""
        for _, event in self._leaving:
            links.wait(self.rank.device, event)
        self._leaving.clear()
