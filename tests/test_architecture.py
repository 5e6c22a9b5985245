"""The house rules of ARCHITECTURE.md, enforced: who may import whom, what is public, what an import costs."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskwright

# Each folder and the other folders that it may import from.
MAY_IMPORT = {
    "grammars": set(),
    "kernels": set(),
    "compile": {"grammars", "kernels"},
    "runtime": {"compile", "grammars", "kernels"},
    "engine": {"runtime", "compile", "grammars", "kernels"},
}
MAX_LINES = 900


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Every module of the package with its folder."""
    for folder in MAY_IMPORT:
        for path in sorted((root / folder).rglob("*.py")):
            yield folder, path


def imported_folders(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, folder) of each import of our own package in a module, wherever in it the import stands."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            # `from maskwright import kernels` names a folder too.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, *rest = name.split(".")
            if package == "maskwright":
                yield node.lineno, rest[0] if rest and rest[0] in MAY_IMPORT else "engine"


def test_imports_follow_the_table(root: Path) -> None:
    wrong = [
        f"{path.relative_to(root)}:{line} imports from {target}/"
        for folder, path in modules(root)
        for line, target in imported_folders(ast.parse(path.read_text()))
        if target != folder and target not in MAY_IMPORT[folder]
    ]
    assert not wrong


def test_the_table_sees_what_it_should() -> None:
    code = "import maskwright.kernels.a\nfrom maskwright import runtime\ndef f():\n  from maskwright.cli import main\n"
    assert list(imported_folders(ast.parse(code))) == [(1, "kernels"), (2, "runtime"), (4, "engine")]


def test_bare_folder_names_are_never_imported(root: Path) -> None:
    wrong = []
    ours = [path for _, path in modules(root)]
    for path in [*ours, *(root / "tests").glob("*.py"), *(root / "examples").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{path.relative_to(root)}:{node.lineno} {n}" for n in names if n.split(".")[0] in MAY_IMPORT]
    assert not wrong


def test_the_packages_listed_are_the_folders_that_exist(root: Path) -> None:
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    expected = {"maskwright": "engine"}
    for init in sorted(root.glob("*/__init__.py")):
        if init.parent.name != "engine":
            expected[f"maskwright.{init.parent.name}"] = init.parent.name
    assert setuptools["package-dir"] == expected
    assert sorted(setuptools["packages"]) == sorted(expected)
    assert set(expected.values()) == set(MAY_IMPORT)
    nested = [str(path.relative_to(root)) for folder in MAY_IMPORT for path in (root / folder).glob("*/__init__.py")]
    assert not nested, "folders stay flat: a nested package would be missing from the wheel"


def test_no_module_holds_more_than_one_idea(root: Path) -> None:
    paths = [*(path for _, path in modules(root)), *(root / "tests").glob("*.py")]
    assert not [str(path.relative_to(root)) for path in paths if len(path.read_text().splitlines()) > MAX_LINES]


def test_all_is_the_public_api(root: Path) -> None:
    tree = ast.parse((root / "engine" / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname or alias.name for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(maskwright.__all__) == maskwright.__all__
    assert set(maskwright.__all__) == imported | {"__version__"}
    assert set(maskwright.__all__) <= set(dir(maskwright))


@pytest.mark.parametrize("name", maskwright.__all__)
def test_every_public_name_loads_and_is_documented(name: str) -> None:
    value = getattr(maskwright, name)
    assert name == "__version__" or (value.__doc__ and value.__name__ == name)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compile_everything'"):
        maskwright.compile_everything  # noqa: B018


def test_the_changelog_tells_of_this_version(root: Path) -> None:
    assert f"\n## {maskwright.__version__}" in (root / "CHANGELOG.md").read_text()


def run(code: str) -> str:
    """Run `code` in a fresh interpreter outside the repository; its output."""
    done = subprocess.run([sys.executable, "-c", code], cwd="/", check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_importing_maskwright_is_light() -> None:
    heavy = "{'torch', 'transformers', 'numba', 'numpy', 'pydantic', 'lark'}"
    assert run(f"import sys, maskwright; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_the_core_imports_without_torch_and_compiles_no_kernel() -> None:
    code = """
import sys
import numba.core.dispatcher as dispatcher
compiled = []
original = dispatcher.Dispatcher.compile
dispatcher.Dispatcher.compile = lambda self, *args, **kw: (compiled.append(self), original(self, *args, **kw))[1]
import maskwright
for name in maskwright.__all__:
    getattr(maskwright, name)
print(compiled, sorted({'torch', 'transformers', 'triton'} & set(sys.modules)))
"""
    assert run(code) == "[] []"


def test_kernels_name_the_version_of_what_they_inline(root: Path) -> None:
    """numba's cache on disk notices a change of the file of a kernel, and not one of a file that it imports.

    So every file of kernels carries a digest of those that it imports: changing one changes all that are compiled from it.
    """
    folder = root / "kernels"
    sources = {path.stem: path.read_text() for path in folder.glob("*.py")}
    imported = {
        name: sorted(set(re.findall(r"^from maskwright\.kernels(?: import|\.)\s*(\w+)", text, re.MULTILINE)))
        for name, text in sources.items()
    }
    digests: dict[str, str] = {}
    while len(digests) < len(sources):
        for name in sorted(sources):
            if name in digests or any(other not in digests for other in imported[name]):
                continue
            callees = [digests[other] for other in imported[name]]
            text = sources[name]
            if callees:
                expected = hashlib.sha256("".join(callees).encode()).hexdigest()[:12]
                assert f"# Callees: {expected}\n" in text, f"kernels/{name}.py must say: # Callees: {expected}"
            digests[name] = hashlib.sha256(text.encode()).hexdigest()
