"""Where a schema stands, and where its references lead.

A `Scope` is one resource in one dialect: references beginning with `#/` walk its contents, which is what nearly every
real reference is. Anything else (`$id`, anchors, other documents, the official metaschemas) goes through the
`referencing` library, imported when first needed.

A dynamic reference (`$dynamicRef`, `$recursiveRef`) leads to the outermost resource on the way to it that has its anchor.
So a scope then also says, of each dynamic anchor, which resource on the way came first with it, and one schema is another
one in another such scope. This is followed only once a dynamic reference was met (`DynamicScopeNeeded`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag, urljoin

from maskwright.grammars.errors import InvalidError, LimitExceeded, UnsupportedError
from maskwright.grammars.schema_keywords import DEFAULT_DIALECT, Dialect, dialect_named, escape, with_vocabularies

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["DynamicScopeNeeded", "References", "Scope"]

MAX_DYNAMIC_SCOPES = 1000  # resources, each counted once for every dynamic scope that it is reached in
_RECURSIVE = ""  # the name, which no anchor can have, under which `$recursiveAnchor` is kept
_NO_ANCHORS: Mapping[str, str] = MappingProxyType({})


class DynamicScopeNeeded(Exception):
    """A dynamic reference was met, and dynamic scopes are not followed: to be read again."""


class Scope:
    """The surroundings that give a schema its meaning.

    Attributes:
        dialect: the keywords that are understood; `identifier`: the one that names a base URI.
        root: the contents of the resource, where `#` leads.
        pointer: where the root stands: "" for the schema that was given, "/…" for a part of it, "URI#…" elsewhere.
        anchors: dynamic anchor → base URI of the outermost resource on the way here that has it.
        schemas: id of contents → Schema, for the schemas whose *parent* stands in this scope.
        targets: (keyword, reference) → what it leads to.
    """

    __slots__ = ("_base", "_outer", "anchors", "dialect", "identifier", "pointer", "root", "schemas", "targets")

    def __init__(
        self,
        dialect: Dialect,
        root: Any,
        pointer: str,
        base: str,
        outer: Scope | None = None,
        anchors: Mapping[str, str] = _NO_ANCHORS,
    ) -> None:
        self.dialect, self.root, self.pointer = dialect, root, pointer
        self.identifier = dialect.identifier
        self._base, self._outer, self.anchors = base, outer, anchors
        self.schemas: dict[int, Schema] = {}
        self.targets: dict[tuple[str, str], Schema | bool] = {}

    @property
    def base(self) -> str:
        """The absolute base URI ("" where the given schema names none), resolved when first asked for."""
        if self._outer is not None:
            self._base, self._outer = urljoin(self._outer.base, urldefrag(self._base).url), None
        return self._base


class References:
    """All resources of one schema: the schema itself, its embedded resources and the documents of a registry."""

    def __init__(self, contents: Any, default: str | None, registry: Any, dynamic: bool = False) -> None:
        """Reads the dialect of `contents`.

        Args:
            contents: the schema.
            default: the dialect where `contents` names none: a URI or name, or None for 2020-12 read leniently.
            registry: a referencing.Registry of further documents, or None.
            dynamic: whether dynamic scopes are followed.
        """
        self.warnings: list[str] = []
        self._given, self._registry = contents, registry
        self._own: Any = None  # a referencing.Registry of the resources within `contents`, made when needed
        self._dynamic, self._entered = dynamic, 0
        self._dialects: dict[str, Dialect] = {}
        dialect = DEFAULT_DIALECT if default is None else dialect_named(default)
        if dialect is None:
            raise UnsupportedError(f"the dialect={default!r} is unknown", keyword="dialect")
        dialect = self._dialect(contents, "", dialect)
        identifier = dialect.base_of(contents) if isinstance(contents, dict) else None
        self.root = Scope(dialect, contents, "", urldefrag(identifier or "").url)
        self._enter_resource(self.root, _NO_ANCHORS)
        self._scopes = {(self.root.base, _key(self.root.anchors)): self.root}
        self._passing: dict[tuple[str, str, frozenset[tuple[str, str]]], Scope] = {}

    def enter(self, contents: dict[str, Any], pointer: str, scope: Scope) -> Scope:
        """The scope of a subschema whose parent stands in `scope`: another one under its own `$id` or `$schema`."""
        if contents is scope.root:
            return scope
        dialect = self._dialect(contents, pointer, scope.dialect)
        identifier = scope.dialect.base_of(contents)
        if identifier is not None:
            return self._enter_resource(Scope(dialect, contents, pointer, identifier, scope), scope.anchors)
        if dialect is not scope.dialect:
            return Scope(dialect, scope.root, scope.pointer, scope.base, anchors=scope.anchors)
        return scope

    def find(self, key: str, reference: str, scope: Scope, pointer: str) -> tuple[Any, str, Scope]:
        """Follows the `reference` of the keyword `key`, which stands in `scope` at `pointer`.

        Returns:
            (contents, their pointer, the scope of their parent). Contents are not checked to be a schema.

        Raises:
            InvalidError: nothing is there.
            LimitExceeded: too many dynamic scopes.
            DynamicScopeNeeded: it depends on the dynamic scope, and those are not followed.
        """
        contents, place, target = self._find(reference, scope, pointer)
        if key == "$ref" or not isinstance(contents, dict):
            return contents, place, target
        name = _RECURSIVE if key == "$recursiveRef" else urldefrag(reference).fragment
        anchor = "$recursiveAnchor" if key == "$recursiveRef" else "$dynamicAnchor"
        if contents.get(anchor) != (name or True):
            return contents, place, target
        if not self._dynamic:
            raise DynamicScopeNeeded
        uri = target.anchors.get(name)
        if uri is None:  # the target's dialect has no such anchors
            return contents, place, target
        outermost = self._resource(uri, reference, target, pointer)
        if name == _RECURSIVE:
            return outermost.root, outermost.pointer, outermost
        return self._anchor(uri, name, reference, outermost, pointer)

    def _find(self, reference: str, scope: Scope, pointer: str) -> tuple[Any, str, Scope]:
        if reference == "#":
            return scope.root, scope.pointer, scope
        if reference.startswith("#/"):
            return self._walk(reference, reference[1:], scope, pointer, scope.anchors)
        uri, fragment = urldefrag(urljoin(scope.base, reference))
        target = self._resource(uri, reference, scope, pointer)
        if not fragment:
            return target.root, target.pointer, target
        if fragment.startswith("/"):
            return self._walk(reference, fragment, target, pointer, scope.anchors)
        return self._anchor(uri, fragment, reference, target, pointer)

    def _dialect(self, contents: Any, pointer: str, default: Dialect) -> Dialect:
        name = contents.get("$schema") if isinstance(contents, dict) else None
        if not isinstance(name, str):
            return default
        try:
            dialect = dialect_named(name)
        except UnsupportedError as error:
            error.at(f"{pointer}/$schema")
            raise
        if dialect is None:
            dialect = self._custom_dialect(name, default, pointer)
        if dialect is None:
            self.warnings.append(f"{pointer}/$schema: the dialect {name!r} is unknown: read as {default.name}")
        return dialect or default

    def _custom_dialect(self, name: str, default: Dialect, pointer: str) -> Dialect | None:
        """The dialect of a metaschema in the caller's registry: that of its own `$schema`, with its vocabularies."""
        from referencing.exceptions import Unresolvable, Unretrievable

        if self._registry is None:
            return None
        if name not in self._dialects:
            try:
                contents = self._registry.get_or_retrieve(urldefrag(name).url).value.contents
            except (LookupError, Unresolvable, Unretrievable):
                return None
            if not isinstance(contents, dict):
                return None
            origin, vocabularies = contents.get("$schema"), contents.get("$vocabulary")
            try:
                dialect = (dialect_named(origin) if isinstance(origin, str) else None) or default
                if isinstance(vocabularies, dict):
                    dialect = with_vocabularies(dialect, vocabularies)
            except UnsupportedError as error:
                error.at(f"{pointer}/$schema")
                raise
            self._dialects[name] = dialect
        return self._dialects[name]

    def _walk(
        self, reference: str, fragment: str, scope: Scope, origin: str, anchors: Mapping[str, str]
    ) -> tuple[Any, str, Scope]:
        """Follow a JSON Pointer from the root of `scope`.

        Args:
            anchors: those known where the reference stands: a pointer that ends in another resource than it begins in has not
                been through the schemas of those on its way.
        """
        contents, pointer = scope.root, scope.pointer
        steps = (unquote(fragment) if "%" in fragment else fragment).split("/")[1:]
        for number, step in enumerate(steps):
            if "~" in step:
                step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(contents, dict) and step in contents:
                contents = contents[step]
            elif isinstance(contents, list) and step.isdecimal() and int(step) < len(contents):
                contents = contents[int(step)]
            else:
                reason = f"the reference {reference!r} leads nowhere: there is no {step!r}"
                raise InvalidError(reason, pointer=origin)
            pointer = f"{pointer}/{escape(step)}"
            # A resource on the way changes what references below it mean; the last step is the caller's to enter.
            if isinstance(contents, dict) and scope.dialect.identifier in contents:
                scope = self._passed(scope, anchors)
                if number + 1 < len(steps):
                    scope = self.enter(contents, pointer, scope)
        return contents, pointer, scope

    def _passed(self, scope: Scope, anchors: Mapping[str, str]) -> Scope:
        """`scope` for a way that leads through its resource into another one: without what its schemas would add."""
        if not self._dynamic or scope.anchors == anchors:
            return scope
        key = scope.base, scope.pointer, _key(anchors)
        if key not in self._passing:
            self._passing[key] = Scope(scope.dialect, scope.root, scope.pointer, scope.base, anchors=anchors)
        return self._passing[key]

    # Beyond one resource

    def _resource(self, uri: str, reference: str, scope: Scope, origin: str) -> Scope:
        """The scope of the resource at an absolute URI."""
        if uri == scope.base:
            return scope
        key = uri, _key(scope.anchors)
        found = self._scopes.get(key)
        if found is None:
            contents = self._given if uri == self.root.base else self._look_up(uri, reference, origin)
            pointer = _place(self._given, contents)
            pointer = f"{uri}#" if pointer is None else pointer
            found = Scope(self._dialect(contents, pointer, scope.dialect), contents, pointer, uri)
            self._scopes[key] = self._enter_resource(found, scope.anchors)
        return found

    def _enter_resource(self, scope: Scope, anchors: Mapping[str, str]) -> Scope:
        """`scope`, of a resource that was reached where `anchors` were known: with those that it adds."""
        if self._dynamic:
            self._entered += 1
            if self._entered > MAX_DYNAMIC_SCOPES:
                limit, hint = MAX_DYNAMIC_SCOPES, "use fewer resources with dynamic anchors"
                raise LimitExceeded("dynamic_scopes", self._entered, limit, pointer=scope.pointer, hint=hint)
            scope.anchors = dict.fromkeys(_dynamic_anchors(scope), scope.base) | dict(anchors)
        return scope

    def _look_up(self, uri: str, reference: str, origin: str) -> Any:
        from jsonschema_specifications import REGISTRY
        from referencing.exceptions import Unresolvable, Unretrievable

        if self._own is None:
            self._own = _crawled(self.root, origin)
        if uri in self._own:
            return self._own.contents(uri)
        known = REGISTRY if self._registry is None else REGISTRY.combine(self._registry)
        try:
            return known.get_or_retrieve(uri).value.contents
        except (LookupError, Unresolvable, Unretrievable) as error:
            reason = f"the reference {reference!r} leads nowhere: {uri!r} is unknown"
            raise InvalidError(reason, pointer=origin, hint="give the document in registry=") from error
        except (TypeError, AttributeError) as error:
            # What referencing meets in a document that breaks the rules of its dialect.
            raise InvalidError(f"a document of the registry is no schema: {error}", pointer=origin) from error

    def _anchor(self, uri: str, name: str, reference: str, scope: Scope, origin: str) -> tuple[Any, str, Scope]:
        from referencing.exceptions import Unresolvable

        try:
            contents = _crawled(scope, origin).anchor(uri, name).value.resource.contents
        except (LookupError, Unresolvable) as error:
            reason = f"the reference {reference!r} leads nowhere: there is no anchor {name!r}"
            raise InvalidError(reason, pointer=origin) from error
        place = _place(scope.root, contents)
        return contents, f"{scope.pointer}#{name}" if place is None else scope.pointer + place, scope


_NO_KEY = frozenset[tuple[str, str]]()


def _key(anchors: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(anchors.items()) if anchors else _NO_KEY


def _resource_of(scope: Scope) -> Any:
    from referencing import Resource
    from referencing.jsonschema import specification_with

    return Resource(contents=scope.root, specification=specification_with(scope.dialect.uri))


def _crawled(scope: Scope, origin: str) -> Any:
    """A registry of the resources and anchors within one resource."""
    from referencing import Registry

    try:
        return Registry().with_resource(scope.base, _resource_of(scope)).crawl()
    except (TypeError, AttributeError) as error:
        raise _malformed(scope, origin, error) from error


def _dynamic_anchors(scope: Scope) -> Iterator[str]:
    """The names of the dynamic anchors of one resource, those of embedded resources left out."""
    from referencing.jsonschema import DynamicAnchor

    if not isinstance(scope.root, dict):
        return
    if "$recursiveRef" in scope.dialect.keywords and scope.root.get("$recursiveAnchor") is True:
        yield _RECURSIVE
    pending = [_resource_of(scope)]
    try:
        while pending:
            resource = pending.pop()
            yield from (anchor.name for anchor in resource.anchors() if isinstance(anchor, DynamicAnchor))
            pending.extend(below for below in resource.subresources() if below.id() is None)
    except (TypeError, AttributeError) as error:
        raise _malformed(scope, scope.pointer, error) from error


def _malformed(scope: Scope, pointer: str, error: Exception) -> InvalidError:
    hint = "check the identifiers, and the places where subschemas stand"
    return InvalidError(f"not a schema of {scope.dialect.name}: {error}", pointer=pointer, hint=hint)


def _place(root: Any, wanted: Any) -> str | None:
    """The JSON Pointer of the very object `wanted` within `root`, or None."""
    pending: list[tuple[Any, str]] = [(root, "")]
    while pending:
        contents, pointer = pending.pop()
        if contents is wanted:
            return pointer
        if isinstance(contents, dict):
            pending.extend((item, f"{pointer}/{escape(name)}") for name, item in contents.items())
        elif isinstance(contents, list):
            pending.extend((item, f"{pointer}/{index}") for index, item in enumerate(contents))
    return None
