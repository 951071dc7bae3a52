"""Self-attention of a block whose rows lie on several GPUs: rows for linears, heads for attention.

Each GPU computes queries, keys and values of its own rows, sends every other GPU that one's heads of them, attends with
its own heads to the whole sequence, and sends each row's result back to where the row lies (DeepSpeed-Ulysses, arXiv
2309.14509). Keys and values travel while queries are computed. A GPU's own queries need not travel: half of the own
rows comes first, while the others' queries arrive, and half last, while the others' results travel back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.in_parts import begun
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
        self.rows = self.asked = rows_of(tokens, rank.count, video)

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
        if together or of_all:
            rows = begun(attend, exchange.all_queries())
            for part in exchange.others_first():
                exchange.send_back(part, rows(part))
            del rows
        else:
            for part in exchange.half_of_own_first():
                exchange.send_back(part, attend(exchange.queries[:, part]))
        del attend  # with keys and values
        return exchange.result()[:, shifted(self.asked[self.rank.number], -asked[self.rank.number].start)]

    def collected(self, x: Tensor) -> Tensor:
        """The video's rows [B, n, C] of all ranks on the first one; no rows on the others."""
        rank = self.rank
        if rank.number:
            x = x.contiguous()  # held here until it has been sent
            target, ready = rank.get(0)
            event = links.send(rank.device, [(x, target)], [rank.mark(), ready])
            rank.put(0, event)
            rank.wait(event)
            return x[:, :0]
        whole = x.new_empty(x.shape[0], size(self.video), x.shape[2])
        ready = rank.mark()
        places = [shifted(within(rows, self.video), -self.video.start) for rows in self.rows]
        for other in rank.others:
            rank.put(other, (whole[:, places[other]], ready))
        whole[:, places[0]] = x
        for other in rank.others:
            rank.wait(rank.get(other))
        return whole


_KEYS, _VALUES, _QUERIES = "keys", "values", "queries"


class _Exchange:
    """One block's. rows, asked: of the whole sequence, by rank.

    Each rank has memory for the keys and values of all rows and for the queries that are asked for, [B, rows, own heads
    * 128], and for the results of its own rows, by the rank whose heads they are. The others write there. Every pair of
    ranks gives each other, in this order: the memory for all three, when each of the three arrives, the memory for
    results, when all of them have arrived.
    """

    def __init__(self, rank: Rank, rows: Sequence[slice], asked: Sequence[slice]) -> None:
        self.rank, self.rows = rank, rows
        some = [part for part in asked if size(part)]
        whole = slice(some[0].start, some[-1].stop)  # a rank that has none of them may lie before or after
        self.asked = [shifted(within(whole, part), -whole.start) for part in asked]
        self._own: dict[str, Tensor] = {}
        self._theirs: dict[int, dict[str, Tensor]] = {}
        self._results: list[Tensor] = []
        self._for_results: dict[int, Tensor] = {}
        self._returned: dict[int, links.Event] = {}
        self._ready: list[links.Event] = []  # what the next piece that leaves has to wait for
        self._leaving: list[tuple[list[Tensor], links.Event]] = []

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
        if not self._own:
            self._open(x)
        place, heads = self._places(what)[self.rank.number], wide(x.contiguous()).unflatten(-1, (self.rank.count, -1))
        pieces = dict(self._apart(heads))
        self._release()  # what was sent before has left by now
        left = self._send([(pieces[other].view(x.dtype), self._theirs[other][what][:, place])
                           for other in self.rank.others])
        for other in self.rank.others:
            self.rank.put(other, left)
        wide(self._own[what])[:, place] = heads[:, :, self.rank.number]

    def _apart(self, heads: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The other ranks' heads among [B, n, ranks, c], each rank's [B, n, c] without gaps."""
        for ranks in (range(self.rank.number), range(self.rank.number + 1, self.rank.count)):
            if ranks:
                yield from zip(ranks, heads[:, :, ranks.start : ranks.stop].movedim(2, 0).contiguous(), strict=True)

    def _places(self, what: str) -> Sequence[slice]:
        return self.asked if what == _QUERIES else self.rows

    def _open(self, x: Tensor) -> None:
        """Memory for what is sent, which is like x."""
        self._own = {what: x.new_empty(x.shape[0], self._places(what)[-1].stop, x.shape[2] // self.rank.count)
                     for what in (_KEYS, _VALUES, _QUERIES)}
        self._offer(dict.fromkeys(self.rank.others, self._own))
        self._theirs = self._offered()

    def _offer(self, own: Mapping[int, Any]) -> None:
        """Give the other ranks memory here, which they may write to when what has been computed until now is done."""
        ready = self.rank.mark()
        for other, memory in own.items():
            self.rank.put(other, (memory, ready))

    def _offered(self) -> dict[int, Any]:
        """What the other ranks give in turn."""
        theirs = {other: self.rank.get(other) for other in self.rank.others}
        self._ready += [ready for _, ready in theirs.values()]
        return {other: memory for other, (memory, _) in theirs.items()}

    def _send(self, pieces: list[tuple[Tensor, Tensor]]) -> links.Event:
        left = links.send(self.rank.device, pieces, [self.rank.mark(), *self._ready])
        self._ready.clear()  # all that leaves this GPU leaves in turn
        self._leaving.append(([piece for piece, _ in pieces], left))
        return left

    def arrived(self, what: str) -> Tensor:
        """Of all rows and own heads, for what is computed from now on; it is not kept here."""
        self._await_all()
        return self._own.pop(what)

    def _await_all(self) -> None:
        """What the others have sent in turn."""
        for other in self.rank.others:
            self.rank.wait(self.rank.get(other))

    def open_results(self) -> None:
        """Memory for the results of the own rows, before attention begins."""
        like, own = self.queries, size(self._mine)
        self._results = [like.new_empty(like.shape[0], own, like.shape[2]) for _ in range(self.rank.count)]
        self._offer({other: self._results[other] for other in self.rank.others})

    def _await_queries(self) -> None:
        self._await_all()
        self._release()
        self._for_results = self._offered()

    def all_queries(self) -> Tensor:
        """`queries`, when they have arrived."""
        self._await_queries()
        return self.queries

    def half_of_own_first(self) -> Iterator[slice]:
        """The rows that are asked for, in the order in which they are attended: of the own ones one half while the
        others' queries arrive, and the other while the others' results travel back. Of the rows before and behind the
        own ones, the fewer come with the last half, because each call takes its time to launch."""
        mine, end = self._mine, self.asked[-1].stop
        middle = mine.start + size(mine) // 2 // TILE * TILE
        before = mine.start > end - mine.stop  # whether more rows are before
        yield from _some(slice(mine.start, middle) if before else slice(middle, mine.stop))
        self._await_queries()
        yield from _some(*((slice(0, mine.start), slice(middle, end)) if before else
                           (slice(mine.stop, end), slice(0, middle))))

    def others_first(self) -> Iterator[slice]:
        """The same where all queries are there: the own rows last. Parts begin at multiples of TILE."""
        mine, end = self._mine, self.asked[-1].stop
        if mine.start > end - mine.stop:
            middle = min(-(-mine.start // TILE) * TILE, end)
            return _some(slice(0, middle), slice(middle, end))
        middle = end if mine.stop == end else mine.stop // TILE * TILE
        return _some(slice(middle, end), slice(0, middle))

    def send_back(self, part: slice, y: Tensor) -> None:
        """Attention y [B, n, own heads * 128] of rows that are asked for, each row to its rank."""
        pieces: dict[int, tuple[Tensor, Tensor]] = {}
        for number, rows in enumerate(self.asked):
            there = within(part, rows)
            piece, place = y[:, shifted(there, -part.start)], shifted(there, -rows.start)
            if number == self.rank.number:
                self._results[number][:, place] = piece
            elif size(there):
                pieces[number] = piece, self._for_results[number][:, place]
        if pieces:
            left = self._send([pieces[number] for number in self.rank.others if number in pieces])
            self._returned |= dict.fromkeys(pieces, left)

    def result(self) -> Tensor:
        """The own rows that are asked for, of all heads: [B, n, dim]."""
        self._own.clear()
        self._theirs.clear()  # before they are told: it is theirs to give back
        self._for_results.clear()
        for other in self.rank.others:
            self.rank.put(other, self._returned.get(other))
        self._await_all()
        self._release()
        return torch.cat(self._results, dim=-1)

    def _release(self) -> None:
        """Give back the memory of what has left, to what is computed from now on."""
        for _, event in self._leaving:
            self.rank.wait(event)
        self._leaving.clear()


def _some(*parts: slice) -> Iterator[slice]:
    return (part for part in parts if size(part))


def wide(x: Tensor) -> Tensor:
    """The same memory in elements of 16 bytes. In those of two, PyTorch copied rows with gaps between them at 1.6 TB/s
    on an H200, which copies 4.3."""
    return x.view(torch.complex128)
