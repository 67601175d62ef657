"""The page of what can be imported, and of the fixtures. It reads the code: no torch is needed."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from blocks import page
from docstrings import described

import pytest_compilecache

_PACKAGE = Path(pytest_compilecache.__file__).parent
_INTRODUCTION = """
Importing `pytest_compilecache` loads neither torch nor pytest; what a name needs is loaded when it
is first used.
"""
_FIXTURES = """
Fixtures of the plugin. How a test compiles is what its [mark](marks.md) says.
"""
_STRATEGIES = """
`from pytest_compilecache.strategies import tensors`, with the extra `hypothesis`. How to search
with them stands in [agreement](agreement.md#searching-for-a-disagreement).
"""
_GIVEN = frozenset({"self", "cls", "draw"})  # not by the caller
_WIDTH = 88

Definition = ast.FunctionDef | ast.ClassDef


def python_page() -> str:
    """The page."""
    library = [_section(_defined(name)) for name in pytest_compilecache.__all__]
    results = [_section(_defined(name)) for name in ("CompileStats", "CompileCacheFacts")]
    strategies = [_section(_defined(name)) for name in _exported("strategies.py")]
    return page(
        "Python",
        _INTRODUCTION,
        "## Calls and classes",
        *library,
        "## Fixtures",
        _FIXTURES,
        *[_fixture(each) for each in _fixtures()],
        *results,
        "## Strategies",
        _STRATEGIES,
        *strategies,
    )


@functools.cache
def _definitions(source: Path) -> list[Definition]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, Definition)]


def _defined(name: str) -> Definition:
    """Where a name is defined; a fixture of the same name is not meant."""
    found = [
        each
        for source in sorted(_PACKAGE.rglob("*.py"))
        for each in _definitions(source)
        if each.name == name and not _is_fixture(each)
    ]
    (only,) = found
    return only


def _exported(source: str) -> list[str]:
    for node in ast.parse((_PACKAGE / source).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise ValueError(f"{source} exports nothing")


def _fixtures() -> list[Definition]:
    return [each for each in _definitions(_PACKAGE / "plugin/fixtures.py") if _is_fixture(each)]


def _is_fixture(node: Definition) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fixture(node: Definition) -> str:
    return f"### {node.name} fixture\n\n{described(ast.get_docstring(node) or '', _GIVEN)}"


def _section(node: Definition) -> str:
    parts = [f"### {node.name}"]
    if isinstance(node, ast.FunctionDef):
        parts.append(_code(node.name, node))
    elif made := _method(node, "__init__"):
        parts.append(_code(node.name, made))
    parts.append(described(ast.get_docstring(node) or "", _GIVEN))
    if isinstance(node, ast.ClassDef):
        parts += [*_members(node), *_methods(node)]
    return "\n\n".join(part for part in parts if part)


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Constants of an enumeration, and properties."""
    constants = [ast.unparse(each.targets[0]) for each in node.body if isinstance(each, ast.Assign)]
    if constants:
        yield "\n".join(f"- `{name}`" for name in constants)
    properties = [
        f"- `{each.name}`: {described(ast.get_docstring(each) or '')}"
        for each in node.body
        if isinstance(each, ast.FunctionDef) and _decorated(each, "property")
    ]
    if properties:
        yield "\n".join(properties)


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for each in node.body:
        if not isinstance(each, ast.FunctionDef) or each.name.startswith("_"):
            continue
        if not _decorated(each, "property"):
            yield _code(f"{node.name}.{each.name}", each)
            yield described(ast.get_docstring(each) or "", _GIVEN)


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    found = (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == name)
    return next(found, None)


def _decorated(node: ast.FunctionDef, name: str) -> bool:
    return any(ast.unparse(decorator) == name for decorator in node.decorator_list)


def _code(name: str, node: ast.FunctionDef) -> str:
    """A signature, on one line where it fits."""
    given = _arguments(node.args)
    # A strategy's function is wrapped, so that it gives a strategy.
    told = node.returns is not None and node.name[0] != "_" and not _decorated(node, "st.composite")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and told else ""
    line = f"{name}({', '.join(given)}){returns}"
    if len(line) > _WIDTH:
        line = "\n".join([f"{name}(", *(f"    {each}," for each in given), f"){returns}"])
    return f"```python\n{line}\n```"


def _arguments(arguments: ast.arguments) -> list[str]:
    """Each argument as it is written, without what a caller does not give."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    found = [_argument(each, default) for each, default in zip(positional, defaults, strict=True)]
    found = [text for each, text in zip(positional, found, strict=True) if each.arg not in _GIVEN]
    if arguments.vararg:
        found.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        found.append("*")
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found += [_argument(each, default) for each, default in named]
    if arguments.kwarg:
        found.append(f"**{ast.unparse(arguments.kwarg)}")
    return found


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    if default is None:
        return text
    if isinstance(default, ast.Name):
        return f"{text} = ..."  # a constant, of which the docstring tells
    return f"{text} = {ast.unparse(default)}"
