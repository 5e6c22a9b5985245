"""Drafts from the longest suffix of the text that is known: from the prompt and output, earlier outputs, and a corpus.

Two suffix automata (runtime/suffix_automaton.py): the text's own, and one of the drafter's, of the corpus and of what
texts before have written. A place is a state in each with the length of the match; the longer match predicts, by counts.

Sources: SAM Decoding (Hu et al. 2024); SuffixDecoding (Oliaro et al. 2024); infini-gram (Liu et al. 2024).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from maskwright.runtime.corrections import Corrections
from maskwright.runtime.draft_growth import PredictingDrafter, Prediction, Predictor
from maskwright.runtime.drafter import Text, Verified
from maskwright.runtime.suffix_automaton import SuffixAutomaton

__all__ = ["SuffixDrafter"]

_MOST_STATES = 400_000  # of the drafter's automaton; then it starts anew from the corpus
_MOST_READ = 1 << 15  # tokens of a prompt, its last ones: half a kilobyte each
_LONGEST = 8
_WIDTH = 3
_CORRECTED = 16 * 32  # grades from here on are those of corrections

Place = tuple[tuple[int, int], tuple[int, int]]
"""State and length of the match in the text's own automaton, and in the drafter's."""


class SuffixDrafter(PredictingDrafter):
    """Longest-suffix counts."""

    name = "suffix"

    def __init__(self, corpus: Iterable[Sequence[int]] = ()) -> None:
        """A drafter that knows some texts, tokenized."""
        super().__init__()
        self._corpus = [list(text) for text in corpus]
        self.known = self._fresh()
        self.corrections = Corrections()

    def _fresh(self) -> SuffixAutomaton:
        automaton = SuffixAutomaton()
        for text in self._corpus:
            automaton.separate()
            automaton.extend(text)
        return automaton

    def remember(self, text: Sequence[int]) -> None:
        """Add a finished text."""
        if len(self.known) > _MOST_STATES:
            self.known = self._fresh()
        self.known.separate()
        self.known.extend(text)

    def predictor(self, text: Text) -> Predictor:
        """See PredictingDrafter."""
        return _Suffix(self, text)


class _Suffix(Predictor):
    def __init__(self, drafter: SuffixDrafter, text: Text) -> None:
        self._drafter, self._text = drafter, text
        self._own, self._shared = SuffixAutomaton(), drafter.known
        self._read = max(text.prompt - _MOST_READ, 0)
        self._place: Place = ((0, 0), (0, 0))

    def root(self) -> Place:
        fresh = self._text.ids[self._read :]
        for token in fresh:
            # First the step, then the token: the text's own end is no earlier place.
            own = self._own.step(*self._place[0], token)
            self._own.extend([token])
            shared = self._shared.step(*self._place[1], token) if self._read >= self._text.prompt else (0, 0)
            self._place = own, shared
            self._read += 1
        return self._place

    def after(self, place: Place, token: int) -> Place:
        return self._own.step(*place[0], token), self._shared.step(*place[1], token)

    def predictions(self, place: Place) -> Sequence[Prediction]:
        best: dict[int, Prediction] = {}
        for kind, (automaton, (state, length)) in enumerate(zip((self._own, self._shared), place, strict=True)):
            while state > 0 and not automaton.next[state]:
                state = automaton.link[state]
                length = automaton.length[state]
            if state <= 0:
                continue
            counts = automaton.following(state)
            total = sum(counts.values())
            grade = 16 * (kind * 16 + min(length, _LONGEST))
            for token in sorted(counts, key=counts.__getitem__, reverse=True)[:_WIDTH]:
                share = counts[token] / max(total, 1)
                prediction = Prediction(token, grade + int(share * 9), share * length / (length + 1))
                if token not in best or best[token].estimate < prediction.estimate:
                    best[token] = prediction
        found = sorted(best.values(), key=lambda prediction: -prediction.estimate)
        if found:
            found += [
                Prediction(token, _CORRECTED + int(share * 9), share)
                for token, share in self._drafter.corrections.of(found[0].token)
                if token not in best
            ]
        return found

    def learn(self, place: Place, token: int) -> None:
        guesses = self.predictions(place)
        if guesses:
            self._drafter.corrections.count(guesses[0].token, token)

    def finish(self) -> None:
        """The text is complete: others may learn from it."""
        self._drafter.remember(self._text.ids[self._text.prompt :])

    def observe(self, verified: Verified) -> None:
        """See Session; what was written is read when the next tree grows."""
