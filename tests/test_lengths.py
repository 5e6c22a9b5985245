"""Lengths of strings on a real vocabulary: every token of plain characters, against the definition.

The rows of counted strings are not walked token by token (kernels/walks.py: _add_short), so each is compared here.
"""

from __future__ import annotations

import codecs
from importlib.resources import files

import numpy as np
import pytest

from maskwright import GrammarCompiler, GrammarMatcher, TokenizerInfo

BOUNDS = [(0, 1), (0, 8), (0, 24), (0, 300), (3, 3), (9, 9), (20, None), (2, 6)]


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo.from_tekken(files("mistral_common").joinpath("data/tekken_240911.json")))


def begun(token: bytes) -> int | None:
    """Characters that begin in bytes which some text begins with; None where no text does."""
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(token)
    except UnicodeDecodeError:
        return None
    return sum(byte & 0xC0 != 0x80 for byte in token)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
@pytest.mark.parametrize("written", ["", "né"])
def test_tokens_inside_a_counted_string(compiler: GrammarCompiler, low: int, high: int | None, written: str) -> None:
    most = 10**9 if high is None else high
    if len(written) > most:
        pytest.skip("the string is full")
    schema = {"type": "string", "minLength": low} | ({} if high is None else {"maxLength": high})
    matcher = GrammarMatcher(compiler.compile_json_schema(schema))
    assert matcher.accept_string('"' + written)
    allowed = set(matcher.allowed_token_ids().tolist())
    tokens = compiler.tokenizer_info.tokens
    wrong, compared, short = [], 0, 0
    for number, token in enumerate(tokens):
        body, closes = (token[:-1], True) if token.endswith(b'"') else (token, False)
        if not token or number in compiler.tokenizer_info.special_token_ids or min(body, default=32) < 32:
            continue
        if b'"' in body or b"\\" in body:
            continue
        count = begun(body)
        if closes and count is not None:
            try:
                body.decode()
            except UnicodeDecodeError:
                count = None
        fits = count is not None and len(written) + count <= most and not (closes and len(written) + count < low)
        compared, short = compared + 1, short + fits
        if fits is not (number in allowed):
            wrong.append((number, token))
    assert compared > 100_000 and short > 90
    assert not wrong, f"{len(wrong)} tokens, such as {wrong[:5]}"
    assert np.all(np.diff(matcher.allowed_token_ids()) > 0)
