"""Self-attention of a block whose rows lie on several GPUs: rows for linears, heads for attention.

Each GPU computes queries, keys and values of its own rows, sends every other GPU that one's heads of them, attends with
its own heads to the whole sequence, and sends each row's result back to where the row lies (DeepSpeed-Ulysses, arXiv
2309.14509). Keys and values travel while queries are computed. A GPU's own queries need not travel: half of the own
rows comes first, while the others' queries arrive, and half last, while the others' results travel back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import links
from .rows import rows_of, shifted, size, within
from .team import Rank

ACROSS = "scail2_across"  # the key of an `Across` in `transformer_options`

_TILE = 256  # what parts of rows are multiples of, see `rows_of`

Attend = Callable[[Tensor], Tensor]


class Projections(NamedTuple):
    """Functions of the own rows, counted from the first one: [B, n, dim]."""

    keys: Callable[[slice], Tensor]
    values: Callable[[slice], Tensor]
    queries: Callable[[slice], Tensor]


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

    def attended(self, project: Projections, prepare: Callable[[Tensor, Tensor], Attend], *, of_all: bool,
                 together: bool) -> Tensor:
        """Attention of the own rows that are asked for, [B, n, dim].

        prepare: keys and values [B, L, own heads * 128] -> attention as a function of queries. together: whether
        it must get all queries at once; of_all: those of all rows, whatever is asked for.
        """
        asked = self.rows if of_all else self.asked
        exchange = _Exchange(self.rank, self.rows, asked, project.keys(slice(0, size(self.own))))
        exchange.send(_VALUES, project.values(slice(0, size(self.own))))
        exchange.send(_QUERIES, project.queries(shifted(asked[self.rank.number], -self.own.start)))
        attend = prepare(*exchange.keys_and_values())
        for part in exchange.parts(together or of_all):
            exchange.send_back(part, attend(exchange.queries(part)))
        return exchange.result()[:, shifted(self.asked[self.rank.number], -asked[self.rank.number].start)]

    def collected(self, patches: Tensor) -> Tensor:
        """The video's rows [B, n, C] of all ranks on the first one; no rows on the others."""
        rank = self.rank
        if rank.number:
            rank.put(0, (patches, links.mark(rank.device)))
            rank.get(0)  # until then the memory is needed
            return patches[:, :0]
        pieces = [patches]
        for other in range(1, rank.count):
            piece, ready = rank.get(other)
            pieces.append(links.fetched(piece, rank.device, ready))
            rank.put(other, None)
        return torch.cat(pieces, dim=1)


_KEYS, _VALUES, _QUERIES = "keys", "values", "queries"


class _Exchange:
    """One block's. rows, asked: of the whole sequence, by rank. keys: of the own rows, [B, n, dim].

    Each rank has memory [B, rows, own heads * 128] for the keys and values of all rows and for the queries that are
    asked for, and for the results of its own rows by the rank whose heads they are. The others write there.
    """

    def __init__(self, rank: Rank, rows: Sequence[slice], asked: Sequence[slice], keys: Tensor) -> None:
        self.rank, self.rows = rank, rows
        self.asked = [shifted(part, -asked[0].start) for part in asked]
        self.width = keys.shape[-1] // rank.count
        self._leaving: list[tuple[Tensor, links.Event]] = []
        self._arriving: list[links.Event] = []
        self._returned: dict[int, links.Event] = {}

        def empty(count: int) -> Tensor:
            return keys.new_empty(keys.shape[0], count, self.width)

        tokens = rows[-1].stop
        self.own = {_KEYS: empty(tokens), _VALUES: empty(tokens), _QUERIES: empty(self.asked[-1].stop)}
        self.results = [empty(size(self._mine)) for _ in range(rank.count)]
        ready = links.mark(rank.device)
        for other in rank.others:
            rank.put(other, (dict(self.own), self.results[other], ready))
        self.theirs: dict[int, tuple[dict[str, Tensor], Tensor, links.Event]] = {
            other: rank.get(other) for other in rank.others}
        self.send(_KEYS, keys)

    @property
    def _mine(self) -> slice:
        return self.asked[self.rank.number]

    def send(self, what: str, x: Tensor) -> None:
        """Own rows x [B, n, dim] of all heads, each head to its rank."""
        heads = x.split(self.width, dim=-1)
        place = self._mine if what == _QUERIES else self.rows[self.rank.number]
        self.own[what][:, place] = heads[self.rank.number]
        for other in self.rank.others:
            memory, _, ready = self.theirs[other]
            self.rank.put(other, self._give(heads[other].contiguous(), memory.pop(what)[:, place], ready))

    def _give(self, x: Tensor, target: Tensor, ready: links.Event) -> links.Event:
        arrived = links.copy(x, target, (links.mark(self.rank.device), ready))
        self._leaving.append((x, arrived))
        return arrived

    def keys_and_values(self) -> tuple[Tensor, Tensor]:
        """Of all rows and own heads, for what is computed from now on."""
        for _ in (_KEYS, _VALUES):
            for other in self.rank.others:
                links.wait(self.rank.device, self.rank.get(other))
        self._arriving = [self.rank.get(other) for other in self.rank.others]  # queries, before attention gathers
        return self.own.pop(_KEYS), self.own.pop(_VALUES)

    def parts(self, together: bool) -> Iterator[slice]:
        """The rows that are asked for, in the order in which they are attended."""
        mine, whole = self._mine, slice(0, self.asked[-1].stop)
        middle = mine.start + size(mine) // 2 // _TILE * _TILE
        order = [whole] if together else [slice(mine.start, middle), slice(0, mine.start),
                                          slice(mine.stop, whole.stop), slice(middle, mine.stop)]
        for place, part in enumerate(order):
            if together or place == 1:
                for event in self._arriving:
                    links.wait(self.rank.device, event)
                self._release()
            if size(part):
                yield part

    def queries(self, part: slice) -> Tensor:
        """[B, n, own heads * 128]."""
        return self.own[_QUERIES][:, part]

    def send_back(self, part: slice, y: Tensor) -> None:
        """Attention y [B, n, own heads * 128] of rows that are asked for, each row to its rank."""
        for number, rows in enumerate(self.asked):
            there = within(part, rows)
            piece, place = y[:, shifted(there, -part.start)], shifted(there, -rows.start)
            if number == self.rank.number:
                self.results[number][:, place] = piece
            elif size(there):
                _, results, ready = self.theirs[number]
                self._returned[number] = self._give(piece, results[:, place], ready)

    def result(self) -> Tensor:
        """The own rows that are asked for, of all heads: [B, n, dim]."""
        for other in self.rank.others:
            self.rank.put(other, self._returned.get(other))
        for other in self.rank.others:
            links.wait(self.rank.device, self.rank.get(other))
        self._release()
        return torch.cat(self.results, dim=-1)

    def _release(self) -> None:
        """Give back the memory of what has left, to what is computed from now on."""
        for _, event in self._leaving:
            links.wait(self.rank.device, event)
        self._leaving.clear()
