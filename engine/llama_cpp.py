"""llama-cpp-python: a logits processor, and `constrain`, which gives its completions and its server forms of answers.

llama = Llama("model.gguf")
compiler = GrammarCompiler(tokenizer_info(llama))
processor = LlamaCppProcessor(compiler.compile_json_schema(schema))
llama.create_completion(prompt, logits_processor=LogitsProcessorList([processor]))
processor.check()                       # llama-cpp-python swallows what a processor raises

constrain(llama).create_chat_completion(messages, response_format={"type": "json_object", "schema": schema})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.constraint import PrefixMask
from maskwright.forms import Form
from maskwright.grammars.errors import InvalidError, ModelError
from maskwright.kernels.bitmask import apply_token_bitmask_inplace
from maskwright.sessions import Sessions

__all__ = ["LlamaCppProcessor", "constrain", "tokenizer_info"]


def tokenizer_info(llama: Any) -> TokenizerInfo:
    """The vocabulary of a `llama_cpp.Llama`, read from its GGUF; what writes no text is special."""
    size = llama.n_vocab()
    begin = llama.token_bos()
    tokens = [llama.detokenize([token]) for token in range(size)]
    ends = {token for token in (llama.token_eos(), _end_of_turn(llama)) if token is not None and token >= 0}
    special = {token for token, text in enumerate(tokens) if not text} | ({begin} if begin >= 0 else set())
    named = {token: llama.detokenize([token], special=True) for token in special}
    return TokenizerInfo(
        [named.get(token, text) for token, text in enumerate(tokens)],
        eos_token_ids=ends,
        special_token_ids=special,
        vocab_size=size,
    )


def _end_of_turn(llama: Any) -> int | None:
    model: Any = getattr(llama, "_model", None)
    return int(model.token_eot()) if hasattr(model, "token_eot") else None


class LlamaCppProcessor(PrefixMask):
    """One generation's logits processor: `f(input_ids int32 [n], scores float32 [V]) -> float32 [V]`.

    It never raises, since llama-cpp-python would go on without it: where something goes wrong the answer ends, and
    `check()`, called when the completion is there, raises the error. Arguments are those of PrefixMask; the grammar is over
    `tokenizer_info(llama)`.
    """

    def __call__(self, input_ids: npt.NDArray[np.intc], scores: npt.NDArray[np.single]) -> npt.NDArray[np.single]:
        # Both are views of live buffers: the scores are copied here, the ids where they are kept.
        masked = np.array(scores, np.float32)
        apply_token_bitmask_inplace(masked, self.row(input_ids))
        return masked


def constrain(llama: Any, compiler: GrammarCompiler | None = None) -> Any:
    """Have a `llama_cpp.Llama` keep `response_format` and `grammar` by Maskwright; the same object, changed.

    `create_completion` and `create_chat_completion` then take, beside llama-cpp-python's own
    `response_format={"type": "json_object", "schema": {...}}`, OpenAI's `{"type": "json_schema", "json_schema": {...}}`, and
    `maskwright=Form(...)` for any other form. So does the OpenAI-compatible server of llama-cpp-python, whose requests
    come to these methods.

    Raises:
        ModelError: the model has a draft model: its processors are shown tokens that are not verified yet.
    """
    if getattr(llama, "draft_model", None) is not None:
        raise ModelError("llama-cpp-python shows processors unverified drafts: make the Llama without draft_model=")
    made, sessions = compiler or GrammarCompiler(tokenizer_info(llama)), Sessions()
    for name in ("create_completion", "create_chat_completion"):
        setattr(llama, name, _constrained(getattr(llama, name), made, sessions))
    return llama


def _constrained(create: Callable[..., Any], compiler: GrammarCompiler, sessions: Sessions) -> Callable[..., Any]:
    def completion(*arguments: Any, maskwright: Form | None = None, **options: Any) -> Any:
        form = maskwright if maskwright is not None else _form(options.get("response_format"))
        if form is None:
            return create(*arguments, **options)
        options.pop("response_format", None)
        if options.get("grammar") is not None:
            raise InvalidError("an answer has one form, and grammar= asks for another", hint="leave grammar= out")
        processor = LlamaCppProcessor(form.compile(compiler), sessions=sessions)
        others = list(options.pop("logits_processor", None) or [])
        result = create(*arguments, logits_processor=_processors([*others, processor]), **options)
        if isinstance(result, Mapping):
            processor.check()
            return result
        return _checked(result, processor)

    return completion


def _checked(chunks: Iterator[Any], processor: LlamaCppProcessor) -> Iterator[Any]:
    yield from chunks
    processor.check()


def _processors(processors: list[Any]) -> Any:
    from llama_cpp import LogitsProcessorList

    return LogitsProcessorList(processors)


def _form(response_format: Mapping[str, Any] | None) -> Form | None:
    if response_format is None or response_format.get("type") == "text":
        return None
    place, kind = "/response_format", response_format.get("type")
    if kind == "json_object":
        return Form("json_schema", response_format.get("schema") or {"type": "object"}, place=f"{place}/schema")
    if kind == "json_schema" and isinstance(response_format.get("json_schema"), Mapping):
        return Form(
            "json_schema", response_format["json_schema"].get("schema", True), place=f"{place}/json_schema/schema"
        )
    raise InvalidError(f"there is no response format {kind!r}", pointer=f"{place}/type", hint='choose "json_schema"')
