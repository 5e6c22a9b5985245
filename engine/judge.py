"""Judge a text: is it a sentence of the grammar, and if not, where does it leave it and what was allowed?

No tokenizer is needed: a vocabulary of the 256 single bytes makes the matcher walk byte by byte. With one, the text is
cut into its tokens, and the first that the grammar does not allow is named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars import errors
from maskwright.grammars.errors import TokenizerError
from maskwright.runtime.matcher import GrammarMatcher

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Verdict", "byte_vocabulary", "caret", "describe_bytes", "judge", "position", "tokens_of"]

END = 256  # the id of the byte vocabulary's end-of-sequence token

_WHITE_SPACE = frozenset(b" \t\n\r")
_PRINTABLE = frozenset(range(0x21, 0x7F))
_NAMES = {0x09: "tab", 0x0A: "newline", 0x0D: "carriage return", 0x20: "space"}


def byte_vocabulary() -> TokenizerInfo:
    """Token i is the byte i; 256 is the end-of-sequence token."""
    return TokenizerInfo([bytes([byte]) for byte in range(256)] + [b""], eos_token_ids=[END], special_token_ids=[END])


def tokens_of(text: bytes, tokenizer: Tokenizer, info: TokenizerInfo) -> list[int]:
    """The token ids of a text; special tokens are never among them.

    Raises:
        TokenizerError: the tokenizer cannot write just this text (it is not UTF-8, or is normalised).
    """
    tokenizer.encode_special_tokens = True  # what looks like a special token is text
    ids: list[int] = tokenizer.encode(text.decode(errors="replace"), add_special_tokens=False).ids
    if (written := info.decode(ids)) != text:
        raise TokenizerError(f"the tokenizer writes {written[:40]!r} where the text is {text[:40]!r}")
    return ids


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `judge` found.

    Attributes:
        accepted: the text is a sentence of the grammar.
        offset: bytes of the text that the grammar allows; all of them when it is accepted or ends too early.
        ended: the text ends too early.
        allowed: what could have stood at `offset`, in words; "" when it is accepted.
        token: which token (0-based) the grammar does not allow; None where tokens were not asked for.
        token_id: its id.
    """

    accepted: bool
    offset: int
    ended: bool = False
    allowed: str = ""
    token: int | None = None
    token_id: int | None = None


def judge(compiled: CompiledGrammar, text: bytes, token_ids: Collection[int] | None = None) -> Verdict:
    """The verdict on `text`, walked by `token_ids` (as `tokens_of` gives them), or byte by byte."""
    matcher = GrammarMatcher(compiled)
    offset = 0
    for number, token in enumerate(token_ids or ()):
        if not matcher.accept_token(token):
            return _rejected(matcher, text, offset, number, token)
        offset += len(compiled.tokenizer_info.tokens[token] or b"")
    if token_ids is None and not matcher.accept_string(text):
        return _rejected(matcher, text, 0)
    if matcher.is_completed():
        return Verdict(True, len(text))
    return Verdict(False, len(text), ended=True, allowed=_describe_next(matcher))


def _rejected(
    matcher: GrammarMatcher, text: bytes, offset: int, token: int | None = None, token_id: int | None = None
) -> Verdict:
    """The verdict where something from `offset` on is not allowed: which byte is the first?"""
    while offset < len(text) and matcher.accept_string(text[offset : offset + 1]):
        offset += 1
    return Verdict(False, offset, allowed=_describe_next(matcher), token=token, token_id=token_id)


def _describe_next(matcher: GrammarMatcher) -> str:
    """What may come next, in words."""
    forced = matcher.find_jump_forward_string()
    if len(forced) > 1:
        return f"only {forced!r}"
    return describe_bytes([*matcher.allowed_bytes(), *([END] if matcher.is_completed() else [])])


def describe_bytes(allowed: Collection[int]) -> str:
    """A set of bytes (and END) in words: `white space, "-", 0-9`."""
    parts = list(_describe(frozenset(allowed)))
    return ", ".join(parts) if parts else "nothing"


def _describe(allowed: frozenset[int]) -> Iterator[str]:
    if allowed >= _WHITE_SPACE:
        yield "white space"
    else:
        yield from (_NAMES[byte] for byte in sorted(allowed & _WHITE_SPACE))
    missing = _PRINTABLE - allowed
    if not missing:
        yield "any printable ASCII character"
    elif len(missing) < len(_PRINTABLE) // 3:
        yield "any printable ASCII character but " + " ".join(_ranges(missing))
    else:
        yield from _ranges(allowed & _PRINTABLE)
    if any(byte >= 0xC0 for byte in allowed & frozenset(range(256))):
        yield "characters beyond ASCII"
    elif any(0x80 <= byte < 0xC0 for byte in allowed):
        yield "the rest of a character beyond ASCII"
    controls = sorted(byte for byte in allowed - _WHITE_SPACE if byte < 0x20 or byte == 0x7F)
    if controls:
        yield "control characters " + " ".join(f"0x{byte:02x}" for byte in controls)
    if END in allowed:
        yield "the end of the text"


def _ranges(printable: Collection[int]) -> Iterator[str]:
    """Letters and digits as ranges (0-9, a-f), the rest one by one."""
    run: list[int] = []
    for byte in [*sorted(printable), None]:
        if run and (byte is None or byte != run[-1] + 1 or not (chr(byte).isalnum() and chr(run[0]).isalnum())):
            yield from [f"{run[0]:c}-{run[-1]:c}"] if len(run) > 2 else [f"{one:c}" for one in run]
            run = []
        if byte is not None:
            run.append(byte)


def position(text: bytes, offset: int) -> tuple[int, int]:
    """Line and column, both from 1 and in characters, of a byte offset."""
    return errors.line_and_column(text.decode(errors="replace"), len(text[:offset].decode(errors="replace")))


def caret(text: bytes, offset: int, width: int = 100) -> str:
    """`errors.caret` for a byte offset."""
    return errors.caret(text.decode(errors="replace"), len(text[:offset].decode(errors="replace")), width)
