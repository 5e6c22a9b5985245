"""llama-cpp-python: a logits processor, and `constrain`, which gives a Llama's completions their forms.

llama = Llama("model.gguf")
compiler = GrammarCompiler(tokenizer_info(llama))
processor = LlamaCppProcessor(compiler.compile_json_schema(schema))
llama.create_completion(prompt, logits_processor=LogitsProcessorList([processor]))
processor.check()                       # llama-cpp-python swallows what a processor raises

constrain(llama).create_chat_completion(messages, response_format={"type": "json_object", "schema": schema})

Its OpenAI-compatible server is in maskwright.llama_cpp_server.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.constraint import PrefixMask, Reasoning
from maskwright.form_fields import response_form
from maskwright.forms import Form
from maskwright.grammars.errors import InvalidError, ModelError, UnsupportedError
from maskwright.kernels.bitmask import apply_token_bitmask_inplace, copy_masked
from maskwright.sessions import Sessions

__all__ = ["HANDLERS_OWN", "LlamaCppProcessor", "binding_form", "constrain", "tokenizer_info"]

Scores = npt.NDArray[np.single]
Processor = Callable[[npt.NDArray[np.intc], Scores], Scores]


HANDLERS_OWN = MappingProxyType({"grammar": None, "stop": None})
"""What chat handlers add, and a form replaces: llama.cpp's grammar of a tool's parameters, and texts that end an answer."""


def tokenizer_info(llama: Any) -> TokenizerInfo:
    """The vocabulary of a `llama_cpp.Llama`, read from its GGUF.

    What writes no text is special: also tokens of more than 32 bytes, of which llama-cpp-python (0.3.36) writes nothing into
    answers. So is every token at which llama.cpp ends a text, also one that has a text, such as `<|im_end|>` in files that
    do not call it a control token.
    """
    from llama_cpp import llama_vocab_is_eog

    size, begin, vocab = llama.n_vocab(), llama.token_bos(), llama._model.vocab
    tokens = [llama.detokenize([token]) for token in range(size)]
    ends = {token for token in range(size) if llama_vocab_is_eog(vocab, token)}
    special = {token for token, text in enumerate(tokens) if not text} | ends | ({begin} if begin >= 0 else set())
    named = {token: llama.detokenize([token], special=True) for token in special}
    return TokenizerInfo(
        [named.get(token, text) for token, text in enumerate(tokens)],
        eos_token_ids=ends,
        special_token_ids=special,
        vocab_size=size,
    )


class LlamaCppProcessor(PrefixMask):
    """One generation's logits processor: `f(input_ids int32 [n], scores float32 [V]) -> float32 [V]`.

    It never raises, since llama-cpp-python would go on without it: where something goes wrong the answer ends, and
    `check()`, called when the completion is there, raises the error. What it returns is good until the next call.

    llama-cpp-python (0.3.36) leaves out every processor where `logit_bias=` is given beside them, and all that come behind
    one that raises. So others belong in here, not into the list beside this one.

    Args:
        compiled: the grammar, over `tokenizer_info(llama)`.
        others: processors that change the scores ahead of the mask.
        sessions, reasoning, prompt_length: as PrefixMask takes them.
    """

    def __init__(
        self,
        compiled: CompiledGrammar,
        *,
        others: Iterable[Processor] = (),
        sessions: Sessions | None = None,
        reasoning: Reasoning | None = None,
        prompt_length: int | None = None,
    ) -> None:
        super().__init__(compiled, sessions=sessions, reasoning=reasoning, prompt_length=prompt_length)
        self._others, self._called = tuple(others), False
        self._masked_scores = np.empty(0, np.float32)

    def reset(self) -> None:
        """Begin another generation."""
        super().reset()
        self._called = False

    def check(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            ModelError: no token was generated under this processor: llama-cpp-python has left it out.
        """
        super().check()
        if not self._called:
            raise ModelError(
                "llama-cpp-python has not called this processor, so the answer was not constrained: it leaves them out where "
                "logit_bias= is given as well. Use constrain(llama), or bias the scores in one of others="
            )

    def __call__(self, input_ids: npt.NDArray[np.intc], scores: Scores) -> Scores:
        self._called = True
        try:
            return self._masked(input_ids, scores)
        except BaseException as error:  # an interrupt, too: in here nobody else would tell of it
            self.close(error)
        ended = np.zeros(len(scores), np.float32)
        apply_token_bitmask_inplace(ended, self.row(input_ids))
        return ended

    def _masked(self, input_ids: npt.NDArray[np.intc], scores: Scores) -> Scores:
        # Both are views of live buffers: of the scores what is allowed is copied here, the ids are where they are kept.
        for other in self._others:
            scores = np.array(other(input_ids, np.array(scores, np.float32)), np.float32)
        if len(self._masked_scores) != len(scores):
            self._masked_scores = np.empty(len(scores), np.float32)
        masked = self._masked_scores  # kept: fresh memory of this size costs more than the mask
        copy_masked(scores[None], self.row(input_ids)[None], masked[None])
        if not masked.max() > -np.inf:
            raise InvalidError(
                "no token is left that the grammar allows: min_tokens, logit_bias or another processor forbids them all"
            )
        return masked


def constrain(llama: Any, compiler: GrammarCompiler | None = None) -> Any:
    """Have a `llama_cpp.Llama` keep the forms of answers by Maskwright; the same object, changed.

    `create_completion` and `create_chat_completion` then take, beside llama-cpp-python's own
    `response_format={"type": "json_object", "schema": {...}}`, OpenAI's `{"type": "json_schema", "json_schema": {...}}`, and
    `maskwright=Form(...)` for any other form. The arguments of a tool that `tool_choice` names keep its schema. `grammar=`
    is llama.cpp's own, as before.

    Raises:
        ModelError: the model has a draft model: its processors are shown tokens that are not verified yet.
    """
    if getattr(llama, "draft_model", None) is not None:
        raise ModelError("llama-cpp-python shows processors unverified drafts: make the Llama without draft_model=")
    made, sessions = compiler or GrammarCompiler(tokenizer_info(llama)), Sessions()
    for name in ("create_completion", "create_chat_completion"):
        setattr(llama, name, _constrained(getattr(llama, name), made, sessions))
    return llama


def binding_form(form: Form | None, request: Mapping[str, Any]) -> Form | None:
    """The form of a chat's answer: `form`, or that of the arguments of the tool that `tool_choice` names; None: any text.

    Args:
        form: what else the request asks for.
        request: `tools` and `tool_choice` of it, or `functions` and `function_call`; `stop`.

    Raises:
        InvalidError: there is no such tool; or a form beside tools that may be called, between which a chat handler chooses.
        UnsupportedError: a form, and texts that would cut it off.
    """
    form = _beside_tools(form, request)
    if form is not None and request.get("stop"):
        raise UnsupportedError("stop would break the form of the answer", keyword="stop", pointer="/stop")
    return form


def _beside_tools(form: Form | None, request: Mapping[str, Any]) -> Form | None:
    for tools, choice in (("tools", "tool_choice"), ("functions", "function_call")):
        chosen = request.get(choice)
        if isinstance(chosen, Mapping):
            form_of_call = _arguments(request, tools, choice)
            if form is None:
                return form_of_call
        if form is not None and request.get(tools) and chosen != "none":
            raise InvalidError(
                f"{form.place or 'a form'} binds the answer, and {tools} may be called instead",
                pointer=f"/{tools}", hint="leave one of them out",
            )  # fmt: skip
    return form


def _arguments(request: Mapping[str, Any], tools: str, choice: str) -> Form:
    """The form of the arguments of the tool that is named by `choice`."""
    chosen = request[choice]
    wanted = chosen.get("name") or _mapping(chosen.get("function")).get("name")
    for number, tool in enumerate(request.get(tools) or ()):
        function = _mapping(_mapping(tool).get("function", tool))
        inner = "/function" if function is not tool else ""
        if function.get("name") == wanted:
            schema = function.get("parameters") or {"type": "object"}
            return Form("json_schema", schema, place=f"/{tools}/{number}{inner}/parameters")
    raise InvalidError(f"there is no tool {wanted!r}", pointer=f"/{choice}", hint=f"name one of {tools}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class _FormProcessor(LlamaCppProcessor):
    """One that a constrained Llama has made itself."""


def _constrained(create: Callable[..., Any], compiler: GrammarCompiler, sessions: Sessions) -> Callable[..., Any]:
    signature = inspect.signature(create)

    def completion(*arguments: Any, maskwright: Form | None = None, **options: Any) -> Any:
        options |= signature.bind_partial(*arguments).arguments
        if any(isinstance(other, _FormProcessor) for other in options.get("logits_processor") or ()):
            return create(**options | HANDLERS_OWN)  # a chat has come to its completion
        form = _form(maskwright, options)
        if form is None:
            return create(**options)
        others = list(options.pop("logits_processor", None) or ())
        if (bias := options.pop("logit_bias", None)) is not None:
            others.append(_biased(bias, compiler.tokenizer_info.vocab_size))
        processor = _FormProcessor(form.compile_placed(compiler), others=others, sessions=sessions)
        result = create(logits_processor=_processors([processor]), **options)
        if isinstance(result, Mapping):
            processor.check()
            return result
        return _checked(result, processor)

    return completion


def _form(given: Form | None, options: dict[str, Any]) -> Form | None:
    """The one form that a call asks for; `response_format` is taken out of its options.

    Raises:
        InvalidError: there are several.
    """
    response = options.pop("response_format", None)
    asked = [form for form in (given, response_form(response) if response else None) if form is not None]
    form = binding_form(asked[0] if asked else None, options)
    if len(asked) + (form is not None and options.get("grammar") is not None) > 1:
        raise InvalidError("an answer has one form, and this call asks for several", hint="leave all but one out")
    return form


def _biased(bias: Mapping[Any, float], vocab_size: int) -> Processor:
    """`logit_bias` as a processor.

    Raises:
        InvalidError: a token that the vocabulary does not have.
    """
    tokens, values = np.array([int(token) for token in bias], np.intp), np.array([*bias.values()], np.float32)
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise InvalidError(
            f"a token that is not in the vocabulary of {vocab_size}", pointer="/logit_bias", hint="leave it out"
        )

    def add(input_ids: npt.NDArray[np.intc], scores: Scores) -> Scores:
        scores[tokens] += values
        return scores

    return add


def _checked(chunks: Iterator[Any], processor: LlamaCppProcessor) -> Iterator[Any]:
    yield from chunks
    processor.check()


def _processors(processors: list[Any]) -> Any:
    from llama_cpp import LogitsProcessorList

    return LogitsProcessorList(processors)
