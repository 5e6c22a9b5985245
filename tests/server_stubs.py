"""Stand-ins for vLLM and SGLang where they are not installed: the classes that adapters derive from, and the names that
plug-ins replace, as vLLM 0.32 and SGLang 0.5.23 have them. They say what is called with what, and do nothing else.
"""

from __future__ import annotations

import enum
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest


def enter(monkeypatch: pytest.MonkeyPatch, name: str, **names: Any) -> ModuleType:
    """A module of this name, and of its parents', in sys.modules."""
    parent = ""
    for part in name.split("."):
        whole = f"{parent}.{part}" if parent else part
        if whole not in sys.modules:
            made = ModuleType(whole)
            made.__path__ = []  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, whole, made)
            if parent:
                monkeypatch.setattr(sys.modules[parent], part, made, raising=False)
        parent = whole
    for key, value in names.items():
        monkeypatch.setattr(sys.modules[name], key, value, raising=False)
    return sys.modules[name]


class StructuredOutputOptions(enum.Enum):
    JSON = enum.auto()
    JSON_OBJECT = enum.auto()
    REGEX = enum.auto()
    GRAMMAR = enum.auto()
    CHOICE = enum.auto()
    STRUCTURAL_TAG = enum.auto()


class StructuredOutputGrammar(ABC):
    @abstractmethod
    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool: ...

    @abstractmethod
    def validate_tokens(self, tokens: list[int]) -> list[int]: ...

    @abstractmethod
    def rollback(self, num_tokens: int) -> None: ...

    @abstractmethod
    def fill_bitmask(self, bitmask: Any, batch_index: int) -> None: ...

    @abstractmethod
    def is_terminated(self) -> bool: ...

    @abstractmethod
    def reset(self) -> None: ...


@dataclass
class StructuredOutputBackend(ABC):
    vllm_config: Any
    tokenizer: Any
    vocab_size: int

    @abstractmethod
    def compile_grammar(self, request_type: Any, grammar_spec: str, stop_token_ids: Any = None) -> Any: ...

    @abstractmethod
    def allocate_token_bitmask(self, max_num_seqs: int) -> Any: ...

    @abstractmethod
    def destroy(self) -> None: ...


class VLLMValidationError(Exception):
    """Becomes a status of 400."""


def structured_output_key(params: Any) -> tuple[StructuredOutputOptions, str]:
    for name in ("json", "regex", "choice", "grammar", "structural_tag"):
        if (value := getattr(params, name, None)) is not None:
            return StructuredOutputOptions[name.upper()], value if isinstance(value, str) else json.dumps(value)
    return StructuredOutputOptions.JSON_OBJECT, ""


class LogitsProcessorV1(ABC):
    @abstractmethod
    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None: ...

    @abstractmethod
    def apply(self, logits: Any) -> Any: ...

    @abstractmethod
    def is_argmax_invariant(self) -> bool: ...

    @abstractmethod
    def update_state(self, batch_update: Any) -> None: ...


class LogitsProcessorV2(ABC):
    def __init__(self, vllm_config: Any, req_states: Any) -> None:  # noqa: B027
        """Keeps nothing."""

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        return True

    @abstractmethod
    def apply(self, logits: Any, ctx: Any) -> Any: ...


class MoveDirectionality(enum.Enum):
    UNIDIRECTIONAL = enum.auto()
    SWAP = enum.auto()


def enter_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's modules, as far as the adapters import or replace something."""
    enter(monkeypatch, "vllm.exceptions", VLLMValidationError=VLLMValidationError)
    enter(monkeypatch, "vllm.v1.structured_output", GuidanceBackend=object)
    enter(
        monkeypatch,
        "vllm.v1.structured_output.backend_types",
        StructuredOutputBackend=StructuredOutputBackend,
        StructuredOutputGrammar=StructuredOutputGrammar,
        StructuredOutputOptions=StructuredOutputOptions,
    )
    enter(monkeypatch, "vllm.v1.structured_output.request", get_structured_output_key=structured_output_key)
    enter(
        monkeypatch,
        "vllm.v1.structured_output.backend_guidance",
        GuidanceBackend=object,
        validate_guidance_grammar=None,
        has_guidance_unsupported_json_features=None,
        process_for_additional_properties=lambda schema: {**json.loads(schema), "additionalProperties": False},
    )
    enter(monkeypatch, "vllm.sampling_params", _get_llg_tokenizer=None)
    enter(
        monkeypatch,
        "vllm.v1.sample.logits_processor",
        LogitsProcessor=LogitsProcessorV1,
        MoveDirectionality=MoveDirectionality,
    )
    enter(monkeypatch, "vllm.v1.worker.gpu.sample.logits_processor", LogitsProcessor=LogitsProcessorV2)


@dataclass
class GrammarStats:
    compilation_time: float | None = None
    is_cache_hit: bool = False
    dispatch_type: str | None = None
    tree_traversal_time: list[float] = field(default_factory=list)


class BaseGrammarObject:
    def __init__(self) -> None:
        self._finished, self.grammar_stats, self.current_token = False, None, None

    def maybe_init_reasoning(self, reasoning: bool) -> None: ...


class InvalidGrammarObject(BaseGrammarObject):
    def __init__(self, error_message: str = "Unknown grammar error") -> None:
        super().__init__()
        self.error_message = error_message


class BaseGrammarBackend:
    def __init__(self) -> None:
        self.cache: dict[tuple[str, str], Any] = {}

    def _init_value_dispatch(self, key: tuple[str, str], require_reasoning: bool) -> Any:
        kind, text = key
        return getattr(self, f"dispatch_{kind}")(text)


class ReasoningParser:
    def __init__(self, model_type: str, stream_reasoning: bool, tokenizer: Any) -> None:
        assert model_type == "deepseek-r1"
        self.detector = type("Detector", (), {"think_end_token": "</think>"})


def enter_sglang(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, Callable[..., Any]]]:
    """SGLang's modules; the choices of its command line and its registry of backends."""
    choices, registry = ["xgrammar"], dict[str, Callable[..., Any]]()
    enter(monkeypatch, "sglang.srt.arg_groups.choices", add_grammar_backend_choices=choices.extend)
    enter(
        monkeypatch,
        "sglang.srt.constrained.base_grammar_backend",
        BaseGrammarBackend=BaseGrammarBackend,
        BaseGrammarObject=BaseGrammarObject,
        GrammarStats=GrammarStats,
        InvalidGrammarObject=InvalidGrammarObject,
        register_grammar_backend=registry.__setitem__,
    )
    serving = type("Serving", (), {"reasoning_parser": "deepseek-r1", "constrained_json_disable_any_whitespace": False})
    enter(monkeypatch, "sglang.srt.runtime_context", get_serving=serving)
    enter(monkeypatch, "sglang.srt.utils.common", is_pin_memory_available=lambda: False)
    enter(monkeypatch, "sglang.srt.parser.reasoning_parser", ReasoningParser=ReasoningParser)
    return choices, registry
