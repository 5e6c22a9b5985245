"""The arguments of a Python function as a type: what a JSON object must be, so that `function(**object)` can be called.

    def book(city: str, nights: Annotated[int, Field(gt=0)] = 1) -> None: ...

    arguments_type(book)        TypedDict("book", {"city": str, "nights": NotRequired[Annotated[int, Field(gt=0)]]})

Annotations mean what they mean to pydantic. A parameter with a default may be left out, and is then left out of the
validated arguments too, so that the function's own default counts.
"""

from __future__ import annotations

import functools
import inspect
from typing import Annotated, Any, get_type_hints

from maskwright.grammars.errors import InvalidError, UnsupportedError

__all__ = ["arguments_type", "is_function"]


def is_function(source: Any) -> bool:
    """Whether `source` is a function, a method, or either with some arguments given (functools.partial)."""
    return inspect.isfunction(source) or inspect.ismethod(source) or isinstance(source, functools.partial)


def arguments_type(function: Any) -> Any:
    """A TypedDict of the arguments that can be given to `function` by name.

    Raises:
        InvalidError: a parameter has no annotation, or one that cannot be resolved.
        UnsupportedError: a parameter cannot be given by name.
    """
    from typing import NotRequired  # pydantic asks for this one below Python 3.12

    from pydantic import Field
    from pydantic.fields import FieldInfo
    from typing_extensions import TypedDict

    whole = function
    while isinstance(whole, functools.partial):
        whole = whole.func
    name = getattr(whole, "__name__", "function")
    try:
        hints = get_type_hints(whole, include_extras=True)
    except NameError as error:
        raise InvalidError(
            f"{name}(): an annotation cannot be resolved: {error}", hint="import what it names"
        ) from error
    members: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        where = f"{name}(): the parameter {parameter}"
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UnsupportedError(
                f"{where} cannot be given by its name", hint="give the function named parameters only"
            )
        if parameter.name not in hints:
            raise InvalidError(f"{where} has no annotation", hint=f"say of what type it is: {parameter.name}: str, say")
        annotation, default = hints[parameter.name], parameter.default
        required = default is parameter.empty
        if isinstance(default, FieldInfo):
            required = default.is_required()
            described = Field(title=default.title, description=default.description)
            annotation = Annotated[annotation, *default.metadata, described]
        members[parameter.name] = annotation if required else NotRequired[annotation]
    found: Any = TypedDict(name, members)  # type: ignore[misc]
    found.__doc__ = inspect.getdoc(whole)
    return found
