"""Whether a grammar takes a text, as users ask it."""

from __future__ import annotations

import maskwright as mw

__all__ = ["takes", "takes_stepwise"]


def takes(grammar: mw.CompiledGrammar, text: str) -> bool:
    """Whether the grammar takes `text`, whole."""
    matcher = mw.GrammarMatcher(grammar)
    return matcher.accept_string(text) and matcher.is_completed()


def takes_stepwise(grammar: mw.CompiledGrammar, text: str) -> bool:
    """The same, byte by byte along the masks of a byte vocabulary; taking it at once must say no other."""
    matcher = mw.GrammarMatcher(grammar)
    stepwise = all(byte in matcher.allowed_token_ids() and matcher.accept_token(byte) for byte in text.encode())
    stepwise = stepwise and matcher.is_completed()
    assert takes(grammar, text) == stepwise, text
    return stepwise
