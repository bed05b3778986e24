"""Arithmetic from a configuration: parsed with ``ast``, checked against short lists, never eval'd.

An expression is worked out over *rows* (one value a segment) or over *groups* (one value a
child cell). Columns are rows; ``np.sum``, ``np.mean``, ``np.min``, ``np.max`` and ``len`` turn
rows into groups; everything else keeps what it is given, and groups spread over their rows
where both meet.
"""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from maggjob.errors import ExpressionError

MAX_LENGTH = 500
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,  # unlike np.power, it squares by multiplying
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in ("abs", "arctan", "cos", "degrees", "exp", "log", "log10", "radians", "sin", "sqrt", "square", "tan")
}
REDUCTIONS = ("sum", "mean", "min", "max", "len")
CONSTANT, GROUP, ROW = "constant", "group", "row"
_RANK = {CONSTANT: 0, GROUP: 1, ROW: 2}


class Operands(Protocol):
    """What an expression is worked out over."""

    def column(self, name: str) -> np.ndarray:
        """A column, float64, one value a row."""

    def reduce(self, name: str, values: np.ndarray) -> np.ndarray:
        """One of `REDUCTIONS` of a value a row, to a value a group."""

    def spread(self, values: np.ndarray) -> np.ndarray:
        """A value a group, repeated for each of its rows."""


@dataclass(frozen=True)
class Expression:
    """A checked expression."""

    text: str
    """As written."""
    plain: str
    """As Python would write it: the same for the same expression."""
    columns: frozenset[str]
    """Names of the columns that it uses."""
    kind: str
    """What it gives: `ROW`, `GROUP` or `CONSTANT`."""
    tree: ast.expr
    """Its syntax tree."""


def _fail(text: str, what: str) -> ExpressionError:
    known = ", ".join(f"np.{name}" for name in sorted({*ELEMENTWISE, *REDUCTIONS} - {"len"}))
    return ExpressionError(f"{text!r}: {what}; allowed are numbers, column names, + - * / **, {known} and len")


@lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Check an expression.

    Raises
    ------
    ExpressionError
        It is too long, no expression, or uses anything that is not listed in this module.

    Examples
    --------
    >>> parse("1.0 / np.sqrt(np.sum(1.0 / s_li**2))").kind
    'group'
    """
    if len(text) > MAX_LENGTH:
        raise _fail(text[:40] + "...", f"{len(text)} characters, at most {MAX_LENGTH}")
    try:
        return _checked(text, ast.parse(text.strip(), mode="eval").body)
    except ExpressionError:
        raise
    except (SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as problem:
        raise _fail(text, f"no expression ({type(problem).__name__})") from problem


def _checked(text: str, tree: ast.expr) -> Expression:
    columns: set[str] = set()
    kind = _check(tree, text, columns)
    return Expression(text, ast.unparse(tree), frozenset(columns), kind, tree)


def _check(node: ast.expr, text: str, columns: set[str]) -> str:
    """Kind of a node; adds the names of the columns below it to ``columns``."""
    match node:
        case ast.Constant(value=bool() | complex()):
            raise _fail(text, f"{node.value!r} is no real number")
        case ast.Constant(value=int() | float() as value):
            float(value)  # an integer may be too large for it
            return CONSTANT
        case ast.Name(id=name):
            columns.add(name)
            return ROW
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return _check(operand, text, columns)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return max(_check(left, text, columns), _check(right, text, columns), key=_RANK.__getitem__)
        case ast.Call(args=[argument], keywords=[]):
            name = function_name(node.func, text)
            kind = _check(argument, text, columns)
            if name in REDUCTIONS:
                if kind != ROW:
                    raise _fail(text, f"{name} of something that is not one value a segment")
                return GROUP
            return kind
        case _:
            raise _fail(text, f"{ast.unparse(node)!r} is not allowed")


def function_name(node: ast.expr, text: str) -> str:
    """The name behind ``np.sqrt``, ``numpy.sqrt`` or ``sqrt``, if it is a known one."""
    match node:
        case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name != "len":
            pass
        case ast.Name(id=name):
            pass
        case _:
            raise _fail(text, f"{ast.unparse(node)!r} is not allowed")
    if name not in ELEMENTWISE and name not in REDUCTIONS:
        raise _fail(text, f"unknown function {name!r}")
    return name


def evaluate(expression: Expression, rows: Operands) -> np.ndarray:
    """Work an expression out, in float64.

    Returns
    -------
    ndarray of float64
        One value a row, or one a group, as ``expression.kind`` says.
    """
    with np.errstate(all="ignore"):  # what is not finite is counted, not warned about
        return np.asarray(_evaluate(expression.tree, rows)[0], np.float64)


def _evaluate(node: ast.expr, rows: Operands) -> tuple[Any, str]:
    match node:
        case ast.Constant(value=value):
            return np.float64(value), CONSTANT  # type: ignore[arg-type]  # _check let numbers pass only
        case ast.Name(id=name):
            return rows.column(name), ROW
        case ast.UnaryOp(op=op, operand=operand):
            value, kind = _evaluate(operand, rows)
            return OPERATORS[type(op)](value), kind
        case ast.BinOp(left=left, op=op, right=right):
            (a, a_kind), (b, b_kind) = _evaluate(left, rows), _evaluate(right, rows)
            if {a_kind, b_kind} == {ROW, GROUP}:
                a, b = (rows.spread(a), b) if a_kind == GROUP else (a, rows.spread(b))
            return OPERATORS[type(op)](a, b), max(a_kind, b_kind, key=_RANK.__getitem__)
        case ast.Call(func=func, args=[argument]):
            name = function_name(func, "")
            value, kind = _evaluate(argument, rows)
            return (rows.reduce(name, value), GROUP) if name in REDUCTIONS else (ELEMENTWISE[name](value), kind)
        case _:
            raise _fail(ast.unparse(node), "was not checked")


@lru_cache(maxsize=256)
def row_arguments(expression: Expression) -> tuple[Expression, ...]:
    """What the innermost reductions of an expression are taken of: expressions over rows alone."""
    inner = [call.args[0] for call in _reductions(expression.tree) if not _reductions(call.args[0])]
    return tuple(_checked(ast.unparse(tree), tree) for tree in inner)  # unparsed, it may be longer than was written


def _reductions(tree: ast.expr) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if function_name(call.func, "") in REDUCTIONS]


@lru_cache(maxsize=256)
def even_powers(expression: Expression) -> frozenset[str]:
    """Columns that an expression raises to an even power, which hides their sign.

    An uncertainty of -0.1 m is as wrong as one of 0, and its square looks right.
    """
    names = set()
    for node in ast.walk(expression.tree):
        match node:
            case ast.BinOp(left=ast.Name(id=name), op=ast.Pow(), right=exponent):
                while isinstance(exponent, ast.UnaryOp):  # a sign leaves it even
                    exponent = exponent.operand
                if (
                    isinstance(exponent, ast.Constant)
                    and isinstance(exponent.value, int | float)
                    and exponent.value % 2 == 0
                ):
                    names.add(name)
            case ast.Call(func=func, args=[ast.Name(id=name)]) if function_name(func, "") == "square":
                names.add(name)
    return frozenset(names)
