"""Habits of docstrings and comments that a test can see: what they hold, and where they stand."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "maggjob"
MODULES = sorted(PACKAGE.rglob("*.py"))
WHEN = re.compile(r"(If|When|Whatever|See|As)\b")
SECTION = re.compile(r"Raises\n-+\n(.*?)(?=\n\n\w[\w ]*\n-{3}|\Z)", re.DOTALL)
ENTRY = re.compile(r"^\S.*\n((?:    .*(?:\n|\Z)|\n(?=    ))+)", re.MULTILINE)
MARKS = re.compile(r"# (noqa|type:|pragma|fmt)[^#]*$")
UNITS = re.compile(
    r"# (MB|GB|s|ms|seconds?|bytes|degrees?( east)?|days|m|km|metres|radians|[\d.]+ (s|ms|MB)|(\w+ )?\w+ per \w+)$"
)


def functions(tree: ast.AST, *, public: bool = True) -> Iterator[ast.FunctionDef]:
    """Public functions and methods, without those inside other functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, public=public and not node.name.startswith("_"))
        elif isinstance(node, ast.FunctionDef) and public and not node.name.startswith("_"):
            yield node


def arguments(function: ast.FunctionDef) -> list[str]:
    every = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def is_command(function: ast.FunctionDef) -> bool:
    """A command of the command line: its docstring is its help, and click explains the options."""
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_say_what_is_given_and_when_it_fails(module: Path) -> None:
    found = []
    for function in functions(ast.parse(module.read_text())):
        text = ast.get_docstring(function) or ""
        # The methods of h5coro that are overridden there are documented by h5coro.
        if not is_command(function) and not module.name.startswith("h5coro_"):
            if len(arguments(function)) > 1 and "Parameters\n---" not in text:
                found.append(f"{function.name}: no Parameters")
            if not text.split("\n")[0].endswith("."):
                found.append(f"{function.name}: the first line is no sentence")
        for section in SECTION.findall(text):
            entries = ENTRY.findall(section + "\n")
            found += [
                f"{function.name}: raises {entry.strip()!r}" for entry in entries if not WHEN.match(entry.strip())
            ]
            if not entries:
                found.append(f"{function.name}: Raises does not say when")
    assert found == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_comments_stand_above_their_lines(module: Path) -> None:
    """Units and the marks of linters may stand behind code."""
    behind = [
        f"{token.start[0]}: {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(module.read_text()).readline)
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    ]
    assert [comment for comment in behind if not MARKS.search(comment) and not UNITS.search(comment)] == []
