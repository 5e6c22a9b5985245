"""The shortest texts that end a frame, by result code: exact, found lazily, kept for all texts of a grammar.

For one frame without calls this is Dijkstra's algorithm over places (state and register), every byte costing 1. A call is
an edge as well: it costs what the called frame's shortest text for a result code costs, and leads to the state after that
result. So the edges of one search are the answers of others, which may need the first again (a value inside a value);
Knuth's generalisation settles all of them together, in order of cost (D. E. Knuth, "A generalization of Dijkstra's
algorithm", Information Processing Letters 6, 1977). Here a search works on demand:

    _Frame      one search, from one place to the ends of its frame; suspended between questions, never thrown away
    agenda      of one question: the frames that it needs, by the cost of the shortest text that reaches their next place
    bounds      lower bounds on what is left from a place, learned from earlier searches (S. Koenig and M. Likhachev,
                "Adaptive A*", AAMAS 2005): a text that goes on finds its way nearly without a search
    tails       shortest texts already found, as slices of longer ones: from a place on an earlier answer's way, there is
                no search at all

A called frame whose return block has room for one result is asked for its first end only, so that a search stays as
small as its own frame. Where a counted loop does nothing but come back to itself, its first turn stands for all of them.

Among equally short texts it is always the same one: the first in the order of moves (compile/moves.py) at every place.
So all places that cost as little are settled before a text is put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple, NoReturn

from maskwright.compile.automaton import Automaton
from maskwright.compile.moves import PENDING, Move, Moves, place, register_of, state_of
from maskwright.grammars.errors import LimitExceeded, MaskwrightError
from maskwright.kernels import layout as L

__all__ = ["NO_END", "Endings"]

NO_END = (1 << 62, -1)
_EVERY = NO_END[0]  # more results, or more cost, than there can be
_MAX_STEPS = 1 << 18  # places that one question may visit
_MAX_BYTES = 1 << 24  # of one frame's text
_MAX_PLACES = 1 << 18  # places kept, and
_MAX_KEPT_BYTES = 1 << 26  # bytes of texts kept; past one of them the next question starts anew
_MAX_CLOSURE = 256  # states of a loop that is taken as one
# Numbers of links that are no move of a state: the frame ends; an earlier answer goes on; nothing is written; a loop.
_END, _TAIL, _SAME, _TURNS = -3, -2, -1, 1 << 30

Link = tuple[int, int, int]  # place before, number of its move (or one of the above), result code of the call


class _Tail(NamedTuple):
    """A shortest text from a place: the rest of `text` from `offset` on; no other result is as near."""

    cost: int
    result: int
    text: bytes
    offset: int


class _Caller(NamedTuple):
    """Who waits for the ends of a frame: a move of a place of another frame."""

    frame: _Frame
    where: int
    cost: int
    number: int
    block: int


class _Frame:
    """The search from one place for the ends of its frame.

    Attributes:
        heap: places to go on from: (lower bound on an end through it, order of arrival, cost, expand a tail, place).
        cost: of the places seen; final where the place was the least of the agenda.
        links: the last steps of all equally short ways to a place.
        exits: cost of the shortest text by result code, in order of cost.
        calls: calls that wait for more results: (cost of the call, frame, results it may have).
        question, forward, wanted: in which question it takes part; the cost of reaching it there; how many of its ends
            somebody needs.
        texts: texts already put together, by result code.
    """

    __slots__ = (
        "callers",
        "calls",
        "cost",
        "exits",
        "forward",
        "heap",
        "links",
        "question",
        "start",
        "texts",
        "wanted",
    )

    def __init__(self, start: int) -> None:
        self.start = start
        self.heap: list[tuple[int, int, int, bool, int]] = [(0, 0, 0, False, start)]
        self.cost: dict[int, int] = {start: 0}
        self.links: dict[int, list[Link]] = {start: []}
        self.exits: dict[int, int] = {}
        self.callers: list[_Caller] = []
        self.calls: list[tuple[int, _Frame, int]] = []
        self.question = self.forward = self.wanted = 0
        self.texts: dict[int, bytes] = {}


class Endings:
    """Shortest ends of the frames of one grammar in its automaton. Not for several threads at once.

    Attributes:
        known_nearest: by place what nearest() has answered; any thread may look things up in it.
    """

    def __init__(self, automaton: Automaton) -> None:
        self.moves = Moves(automaton)
        self.known_nearest: dict[int, tuple[int, int]] = {}
        self._lower: Callable[[int], None] = automaton.lower
        self._frames: dict[int, _Frame] = {}
        self._bounds: dict[int, int] = {}
        self._tails: dict[int, _Tail] = {}
        self._loops: dict[int, bool] = {}
        self._failures: dict[int, MaskwrightError] = {}
        self._places = self._bytes = self._arrivals = self._questions = self._steps = 0
        self._agenda: list[tuple[int, int, _Frame]] = []

    # Questions

    def begin(self, lower: Callable[[int], None]) -> None:
        """Start a question, which may need several answers: they share one limit. `lower` lowers states on its behalf."""
        self._lower, self._steps = lower, 0
        if self._places > _MAX_PLACES or self._bytes > _MAX_KEPT_BYTES:
            self.forget()

    def forget(self) -> None:
        """Drop everything found; also after an error, which leaves a search without the place it was at."""
        self._frames, self._bounds, self._tails, self._places, self._bytes = {}, {}, {}, 0, 0
        self.known_nearest.clear()

    def nearest(self, start: int) -> tuple[int, int]:
        """(cost in bytes, result code) of the shortest text from a place to an end of its frame."""
        if start < 0:
            return 0, ~start
        known = self.known_nearest.get(start)
        if known is None:
            known = self.known_nearest[start] = self._find_nearest(start)
        return known

    def _find_nearest(self, start: int) -> tuple[int, int]:
        tail = self._tails.get(start)
        if tail is not None:
            return tail.cost, tail.result
        found = self.end(start, 0, _EVERY)
        assert found is not None
        if found == NO_END:
            self.fail()
        return found

    def fail(self) -> NoReturn:
        """Raise what has kept a search from an end; there is one wherever lowering does not fail."""
        assert self._failures, "a dead end was reached"
        raise next(iter(self._failures.values()))

    def end(self, start: int, number: int, most: int) -> tuple[int, int] | None:
        """End `number` (0 is the nearest) of the frame at a place: (cost, result code).

        Returns:
            None when it costs more than `most` bytes, and NO_END when there are not so many ends.
        """
        frame = self._frame(start)
        if len(frame.exits) <= number:
            self._search(frame, number + 1, most)
        if len(frame.exits) <= number:
            return None if self._agenda else NO_END
        result = list(frame.exits)[number]
        return frame.exits[result], result

    def text(self, start: int, result: int) -> bytes:
        """The shortest text from a place to the end of its frame with a result code that `end` has found."""
        if start < 0:
            return b""
        tail = self._tails.get(start)
        if tail is not None and tail.result == result:
            return tail.text[tail.offset :]
        return self._text(self._frame(start), result)

    # Searching

    def _frame(self, start: int) -> _Frame:
        found = self._frames.get(start)
        if found is None:
            found = self._frames[start] = _Frame(start)
            self._places += 1
            if start < 0:
                found.heap, found.exits, found.texts = [], {~start: 0}, {~start: b""}
        return found

    def _called(self, move: Move) -> _Frame:
        """The frame that a move calls; named the same whether or not its first state is lowered."""
        return self._frame(place(move.target, 0) | PENDING)

    def _search(self, root: _Frame, wanted: int, most: int) -> None:
        """Go on until `root` has `wanted` ends, or none is left that costs at most `most` bytes."""
        self._questions += 1
        agenda = self._agenda = list[tuple[int, int, _Frame]]()
        self._demand(root, 0, _EVERY)
        while agenda:
            priority, _, frame = agenda[0]
            if priority > most or len(root.exits) >= wanted:
                return
            heappop(agenda)
            heap = frame.heap
            if not heap or frame.forward + heap[0][0] != priority or len(frame.exits) >= frame.wanted:
                continue  # another entry has taken its place, or nobody needs more of the frame
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise LimitExceeded(
                    "max_completion_steps",
                    self._steps,
                    _MAX_STEPS,
                    what="search for the shortest completion",
                    hint="lower the schema's minItems, minLength or minProperties",
                )
            _, _, cost, expand, where = heappop(heap)
            if cost == frame.cost[where]:
                self._visit(frame, where, cost, expand)
            if heap:
                self._schedule(frame)

    def _schedule(self, frame: _Frame) -> None:
        self._arrivals += 1
        heappush(self._agenda, (frame.forward + frame.heap[0][0], self._arrivals, frame))

    def _demand(self, frame: _Frame, forward: int, wanted: int) -> None:
        """Have a frame, and whoever it waits for, take part in the question."""
        todo = [(frame, forward, wanted)]
        while todo:
            frame, forward, wanted = todo.pop()
            if frame.question != self._questions:
                frame.question, frame.forward, frame.wanted = self._questions, _EVERY, 0
            nearer = forward < frame.forward
            if not nearer and wanted <= frame.wanted:
                continue
            frame.forward, frame.wanted = min(forward, frame.forward), max(wanted, frame.wanted)
            if frame.heap:
                self._schedule(frame)
            if nearer:
                frame.calls = [call for call in frame.calls if len(call[1].exits) < call[2]]
                todo += [(callee, forward + cost, results) for cost, callee, results in frame.calls]

    def _visit(self, frame: _Frame, where: int, cost: int, expand: bool) -> None:
        """Go on from a place of a frame."""
        if where < 0:
            self._end(frame, ~where, cost)
            return
        if where & PENDING:
            if self._lowered(state_of(where)):
                entered = self.moves.enter(state_of(where), register_of(where))
                self._reach(frame, entered, cost, (where, _SAME, 0))
            return
        tail = self._tails.get(where)
        if tail is not None and not expand:
            self._reach(frame, ~tail.result, cost + tail.cost, (where, _TAIL, 0))
            self._push(frame, cost + tail.cost + 1, cost, True, where)
            return
        state, register = state_of(where), register_of(where)
        record = self.moves.entered(state)
        assert record is not None
        if record.op == L.OP_COUNT and self._turn(frame, where, record.argument):
            return
        if record.final >= 0:
            self._reach(frame, ~record.final, cost, (where, _END, 0))
        enter = self.moves.enter
        for number, move in enumerate(self.moves.moves(state)):
            if move.target < 0:
                self._reach(frame, move.target, cost, (where, number, 0))
                continue
            if move.block < 0:
                self._reach(frame, enter(move.target, register), cost + 1, (where, number, 0))
                continue
            base = cost + (move.byte >= 0)
            callee = self._called(move)
            for result, ending in callee.exits.items():
                if result < move.results:
                    self._reach(frame, enter(move.block + result, register), base + ending, (where, number, result))
            if len(callee.exits) < move.results:
                callee.callers.append(_Caller(frame, where, base, number, move.block))
                frame.calls.append((base, callee, move.results))
                self._demand(callee, frame.forward + base, move.results)

    def _reach(self, frame: _Frame, where: int, cost: int, link: Link) -> None:
        """Note a way to a place."""
        known = frame.cost.get(where)
        if known is None or cost < known:
            if known is None:
                self._places += 1
            frame.cost[where] = cost
            frame.links[where] = [link]
            self._push(frame, cost + self._bound(where), cost, False, where)
        elif cost == known and link not in frame.links[where]:
            frame.links[where].append(link)

    def _bound(self, where: int) -> int:
        """A lower bound on what is left from a place."""
        if where < 0 or where & PENDING:
            return 0
        bound = self._bounds.get(where)
        if bound is None:
            record = self.moves.entered(state_of(where))
            assert record is not None
            return int(record.final < 0)
        return bound

    def _push(self, frame: _Frame, key: int, cost: int, expand: bool, where: int) -> None:
        self._arrivals += 1
        heappush(frame.heap, (key, self._arrivals, cost, expand, where))
        if frame.question == self._questions and frame.heap[0][1] == self._arrivals:
            self._schedule(frame)

    def _end(self, frame: _Frame, result: int, cost: int) -> None:
        """A frame has its shortest text for a result code."""
        if result in frame.exits:
            return
        frame.exits[result] = cost
        for caller in frame.callers:
            where = self.moves.enter(caller.block + result, register_of(caller.where))
            self._reach(caller.frame, where, caller.cost + cost, (caller.where, caller.number, result))

    def _lowered(self, state: int) -> bool:
        """Have a state lowered; False when it cannot be: then no text goes there."""
        if self.moves.entered(state) is not None:
            return True
        if state not in self._failures:
            try:
                self._lower(state)
            except MaskwrightError as error:
                if self.moves.entered(state) is not None:
                    raise  # the state is there, and the grammar has used up what it may
                self._failures[state] = error
        return state not in self._failures

    # Counted loops

    def _turn(self, frame: _Frame, where: int, after: int) -> bool:
        """Where a loop has come round for the first time, go on from its end: all turns cost the same."""
        state, register = state_of(where), register_of(where)
        before = place(state, register + 1)
        if before not in frame.cost or not self._only_turns(state):
            return False
        at, steps = where, 0
        while at != before:
            links = frame.links[at]
            if not links or steps > _MAX_CLOSURE:
                return False
            at, steps = links[0][0], steps + 1
        cost = frame.cost[where] - frame.cost[before]
        target = self.moves.enter(after, 0)
        self._reach(frame, target, frame.cost[before] + (register + 1) * cost, (before, _TURNS, where))
        return True

    def _only_turns(self, state: int) -> bool:
        """Whether every way on from a counting state ends the frame or comes back to count again, whatever the count."""
        found = self._loops.get(state)
        if found is None:
            found = self._loops[state] = self._find_only_turns(state)
        return found

    def _find_only_turns(self, loop: int) -> bool:
        seen = {loop}
        todo = [loop]
        while todo:
            for target in self._next_states(todo.pop()):
                if target is None or not self._lowered(target):
                    return False
                record = self.moves.entered(target)
                if record is None or len(seen) > _MAX_CLOSURE:
                    return False
                if record.state in seen or record.op == L.OP_POP:
                    continue
                if record.op != L.OP_NONE:
                    return False
                seen.add(record.state)
                todo.append(record.state)
        return True

    def _next_states(self, state: int) -> Iterator[int | None]:
        """The states after each move of a state; None where they depend on a result code."""
        for move in self.moves.moves(state):
            if move.target < 0:
                continue
            if move.block < 0:
                yield move.target
            else:
                yield move.block if move.results == 1 else None

    # Texts

    def _text(self, frame: _Frame, result: int) -> bytes:
        """Put together the text of an end, those of the frames it calls first."""
        if frame.exits[result] > _MAX_BYTES:
            raise LimitExceeded(
                "max_completion_bytes",
                frame.exits[result],
                _MAX_BYTES,
                what="the shortest completion",
                hint="lower the schema's minItems, minLength or minProperties",
            )
        ways: dict[tuple[int, int], list[Link]] = {}
        todo = [(frame, result)]
        while todo:
            frame, result = todo[-1]
            if result in frame.texts:
                todo.pop()
                continue
            way = ways.get((frame.start, result))
            if way is None:
                self._search(frame, _EVERY, frame.exits[result])
                way = ways[frame.start, result] = self._way(frame, frame.start, ~result)
            needed = [call for call in self._calls(frame, way) if call[1] not in call[0].texts]
            if needed:
                todo += needed
                continue
            self._learn(frame, result, way)
            todo.pop()
        return frame.texts[result]

    def _way(self, frame: _Frame, start: int, goal: int) -> list[Link]:
        """The links of the first shortest way from a place to another, each with the place that it leaves."""
        following: dict[int, tuple[int, int, int]] = {}  # by place: the least (number, result) to follow, and where to
        todo = [goal]
        seen = {goal}
        while todo:
            at = todo.pop()
            if at == start:
                continue
            for before, number, result in frame.links[at]:
                step = (number, result, at)
                if before not in following or step < following[before]:
                    following[before] = step
                if before not in seen:
                    seen.add(before)
                    todo.append(before)
        way, at = [], start
        while at != goal:
            number, result, after = following[at]
            way.append((at, number, result))
            at = after
        return way

    def _calls(self, frame: _Frame, way: list[Link]) -> Iterator[tuple[_Frame, int]]:
        """The called frames of a way, with their result codes."""
        for where, number, result in way:
            if number == _TURNS:
                yield from self._calls(frame, self._way(frame, where, result))
            elif number >= 0 and (move := self.moves.moves(state_of(where))[number]).block >= 0:
                yield self._called(move), result

    def _write(self, frame: _Frame, link: Link) -> bytes:
        """The text of one step of a way."""
        where, number, result = link
        if number in (_END, _SAME):
            return b""
        if number == _TAIL:
            tail = self._tails[where]
            return tail.text[tail.offset :]
        if number == _TURNS:
            turn = b"".join(self._write(frame, link) for link in self._way(frame, where, result))
            return turn * register_of(where)
        move = self.moves.moves(state_of(where))[number]
        written = b"" if move.byte < 0 else bytes((move.byte,))
        if move.block < 0:
            return written
        return written + self._called(move).texts[result]

    def _learn(self, frame: _Frame, result: int, way: list[Link]) -> None:
        """Keep a text, and what it tells about the places that were visited to find it."""
        pieces = [self._write(frame, link) for link in way]
        text = frame.texts[result] = b"".join(pieces)
        cost = frame.exits[result]
        assert len(text) == cost, "a text is not as long as its way"
        self._bytes += cost
        exits = list(frame.exits)
        if exits[0] != result:
            return
        bounds = self._bounds
        for where, reached in frame.cost.items():
            if 0 <= where and reached < cost and cost - reached > bounds.get(where, 1):
                bounds[where] = cost - reached
        if len(exits) > 1 and frame.exits[exits[1]] == cost:
            return  # another result is as near: the text alone does not tell it
        offset = 0
        for (where, _, _), piece in zip(way, pieces, strict=True):
            if not where & PENDING:
                self._tails.setdefault(where, _Tail(cost - offset, result, text, offset))
            offset += len(piece)
