"""Arithmetic expressions of a configuration, parsed with ``ast`` and checked against short lists, without ``eval``.

An expression is evaluated over *rows* (one value per segment) or *groups* (one value per child cell). Columns have one
value per row. ``np.sum``, ``np.mean``, ``np.median``, ``np.std``, ``np.min``, ``np.max`` and ``len`` reduce rows to
groups. All other operations keep the kind of their operands; if rows and groups are combined, the value of a group is
repeated for each of its rows. A condition, such as a comparison, has the values 1 and 0; one with NaN is 0.
"""

import ast
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from maggjob.errors import ExpressionError

MAX_LENGTH = 500
PASS, PASS_NAME = re.compile(r"\bpass\b"), "__pass__"
"""The column ``pass`` has the name of a keyword of Python, so that another name stands for it in the tree."""
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    # Unlike np.power, operator.pow squares by multiplication.
    ast.Pow: operator.pow,
    ast.Mod: np.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
COMPARISONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    # NaN differs from everything, but a missing value meets no condition.
    ast.NotEq: lambda a, b: (a < b) | (a > b),
}
CONNECTIVES: dict[type[ast.AST], Callable[..., Any]] = {
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
    ast.BitAnd: np.logical_and,
    ast.BitOr: np.logical_or,
}
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in (
        *("abs", "arctan", "cos", "degrees", "exp", "floor", "log", "log10", "radians", "sin", "sqrt", "square"),
        "tan",
    )
}
SEVERAL: dict[str, int] = {"where": 3, "minimum": 2, "maximum": 2}
"""Functions of several arguments, and their number."""
REDUCTIONS = ("sum", "mean", "median", "std", "min", "max", "len")
CONSTANT, GROUP, ROW = "constant", "group", "row"
_RANK = {CONSTANT: 0, GROUP: 1, ROW: 2}


class Operands(Protocol):
    """The data over which an expression is evaluated: rows, their columns and their groups."""

    def column(self, name: str) -> np.ndarray:
        """Return a column, float64, shape (rows,)."""

    def reduce(self, name: str, values: np.ndarray) -> np.ndarray:
        """Reduce values of rows to one value per group.

        Parameters
        ----------
        name : str
            One of `REDUCTIONS`.
        values : ndarray, shape (rows,)

        Returns
        -------
        ndarray, shape (groups,)
        """

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Repeat the value of each group for each of its rows, shape (groups,) to (rows,)."""


@dataclass(frozen=True)
class Expression:
    """A checked expression."""

    text: str
    """Text of the expression."""
    plain: str
    """Normalized text: the same for expressions that differ only in spaces and redundant parentheses."""
    columns: frozenset[str]
    """Names of the columns that the expression uses."""
    kind: str
    """Kind of the result: `ROW`, `GROUP` or `CONSTANT`."""
    tree: ast.expr
    """Syntax tree."""
    condition: bool = False
    """True if the expression is a condition."""


def _fail(text: str, what: str) -> ExpressionError:
    known = ", ".join(f"np.{name}" for name in sorted({*ELEMENTWISE, *SEVERAL, *REDUCTIONS} - {"len"}))
    return ExpressionError(
        f"{text!r}: {what}; allowed are numbers, column names, + - * / ** %, < <= > >= == !=, and, or, not, {known} "
        "and len"
    )


@lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Parse and check an expression.

    Raises
    ------
    ExpressionError
        If the text is too long, not an expression, or uses anything that is not listed in this module.

    Examples
    --------
    >>> parse("1.0 / np.sqrt(np.sum(1.0 / s_li**2))").kind
    'group'
    """
    if len(text) > MAX_LENGTH:
        raise _fail(text[:40] + "...", f"{len(text)} characters, at most {MAX_LENGTH}")
    try:
        return _checked(text, ast.parse(PASS.sub(PASS_NAME, text.strip()), mode="eval").body)
    except ExpressionError:
        raise
    except (SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as problem:
        raise _fail(text, f"not a valid expression ({type(problem).__name__})") from problem


def _checked(text: str, tree: ast.expr) -> Expression:
    columns: set[str] = set()
    kind = _check(tree, text, columns)
    plain = ast.unparse(tree).replace(PASS_NAME, "pass")
    return Expression(text, plain, frozenset(columns), kind, tree, _is_condition(tree))


def _is_condition(node: ast.expr) -> bool:
    match node:
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return True
        case ast.BoolOp(values=values):
            return all(map(_is_condition, values))
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr(), right=right):
            return _is_condition(left) and _is_condition(right)
    return False


def _check(node: ast.expr, text: str, columns: set[str]) -> str:
    """Return the kind of a node, and add the names of the columns below it to ``columns``."""

    def highest(nodes: Sequence[ast.expr]) -> str:
        return max((_check(one, text, columns) for one in nodes), key=_RANK.__getitem__)

    def connected(nodes: Sequence[ast.expr]) -> str:
        for one in nodes:
            if not _is_condition(one):
                raise _fail(text, f"{ast.unparse(one)!r} is not a condition, such as h_li > 0; use parentheses")
        return highest(nodes)

    match node:
        case ast.Constant(value=bool() | complex()):
            raise _fail(text, f"{node.value!r} is not a real number")
        case ast.Constant(value=int() | float() as value):
            # Raises OverflowError if an integer is too large.
            float(value)
            return CONSTANT
        case ast.Name(id=name):
            columns.add("pass" if name == PASS_NAME else name)
            return ROW
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return _check(operand, text, columns)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return connected([operand])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            # Not by `highest`: a long sum is a deep tree, and each call is a frame.
            return max(_check(left, text, columns), _check(right, text, columns), key=_RANK.__getitem__)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in CONNECTIVES:
            return connected([left, right])
        case ast.BoolOp(values=values):
            return connected(values)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARISONS for op in ops):
            return highest([left, *others])
        case ast.Call(func=func, args=arguments, keywords=[]) if len(arguments) > 1:
            name = function_name(func, text)
            if SEVERAL.get(name) != len(arguments):
                raise _fail(text, f"{name} takes {SEVERAL.get(name, 1)} arguments, not {len(arguments)}")
            if name == "where":
                connected(arguments[:1])
            return highest(arguments)
        case ast.Call(args=[argument], keywords=[]):
            name = function_name(node.func, text)
            kind = _check(argument, text, columns)
            if name in SEVERAL:
                raise _fail(text, f"{name} takes {SEVERAL[name]} arguments, not 1")
            if name in REDUCTIONS:
                if kind != ROW:
                    raise _fail(text, f"the argument of {name} must have one value per segment")
                return GROUP
            return kind
        case _:
            raise _fail(text, f"{ast.unparse(node)!r} is not allowed")


def function_name(node: ast.expr, text: str) -> str:
    """Return the name of a function given as ``np.sqrt``, ``numpy.sqrt`` or ``sqrt``.

    Parameters
    ----------
    node : ast.expr
        Function of a call.
    text : str
        The whole expression, for messages.

    Raises
    ------
    ExpressionError
        If the function is not known.
    """
    match node:
        case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name != "len":
            pass
        case ast.Name(id=name):
            pass
        case _:
            raise _fail(text, f"{ast.unparse(node)!r} is not allowed")
    if name not in {*ELEMENTWISE, *SEVERAL, *REDUCTIONS}:
        raise _fail(text, f"unknown function {name!r}")
    return name


def evaluate(expression: Expression, rows: Operands) -> np.ndarray:
    """Evaluate an expression in float64.

    Parameters
    ----------
    expression : Expression
    rows : Operands

    Returns
    -------
    ndarray of float64
        One value per row or per group, depending on ``expression.kind``.
    """
    # Values that are not finite are counted in the ledger, so numpy need not warn about them.
    with np.errstate(all="ignore"):
        return np.asarray(_evaluate(expression.tree, rows)[0], np.float64)


def _evaluate(node: ast.expr, rows: Operands) -> tuple[Any, str]:
    match node:
        case ast.Constant(value=value):
            # `_check` accepts only numbers.
            return np.float64(value), CONSTANT  # type: ignore[arg-type]
        case ast.Name(id=name):
            return rows.column("pass" if name == PASS_NAME else name), ROW
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            value, kind = _evaluate(operand, rows)
            return np.asarray(value == 0, np.float64), kind
        case ast.UnaryOp(op=op, operand=operand):
            value, kind = _evaluate(operand, rows)
            return OPERATORS[type(op)](value), kind
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            (a, a_kind), (b, b_kind) = _evaluate(left, rows), _evaluate(right, rows)
            if {a_kind, b_kind} == {ROW, GROUP}:
                a, b = (rows.spread(a), b) if a_kind == GROUP else (a, rows.spread(b))
            return OPERATORS[type(op)](a, b), max(a_kind, b_kind, key=_RANK.__getitem__)
        case ast.BinOp(left=left, op=op, right=right):
            return _connected(op, [left, right], rows)
        case ast.BoolOp(op=op, values=nodes):
            return _connected(op, nodes, rows)
        case ast.Compare(left=left, ops=ops, comparators=others):
            values, kind = _aligned([left, *others], rows)
            met = [COMPARISONS[type(op)](a, b) for op, (a, b) in zip(ops, pairwise(values), strict=True)]
            return np.asarray(np.logical_and.reduce(met), np.float64), kind
        case ast.Call(func=func, args=arguments) if len(arguments) > 1:
            values, kind = _aligned(arguments, rows)
            name = function_name(func, "")
            return (np.where(values[0] != 0, *values[1:]) if name == "where" else getattr(np, name)(*values)), kind
        case ast.Call(func=func, args=[argument]):
            name = function_name(func, "")
            value, kind = _evaluate(argument, rows)
            return (rows.reduce(name, value), GROUP) if name in REDUCTIONS else (ELEMENTWISE[name](value), kind)
        case _:
            raise _fail(ast.unparse(node), "was not checked")


def _aligned(nodes: Sequence[ast.expr], rows: Operands) -> tuple[list[Any], str]:
    """Evaluate nodes, and repeat those of groups for each row if others have one value per row."""
    found = [_evaluate(node, rows) for node in nodes]
    highest = max((kind for _, kind in found), key=_RANK.__getitem__)
    return [rows.spread(v) if (kind, highest) == (GROUP, ROW) else v for v, kind in found], highest


def _connected(op: ast.AST, nodes: Sequence[ast.expr], rows: Operands) -> tuple[Any, str]:
    values, kind = _aligned(nodes, rows)
    return np.asarray(reduce(CONNECTIVES[type(op)], [value != 0 for value in values]), np.float64), kind


@lru_cache(maxsize=256)
def row_arguments(expression: Expression) -> tuple[Expression, ...]:
    """Return the arguments of the innermost reductions of an expression, which are expressions over rows."""
    inner = [call.args[0] for call in _reductions(expression.tree) if not _reductions(call.args[0])]
    # `parse` is not used, as unparsed text may exceed `MAX_LENGTH`.
    return tuple(_checked(ast.unparse(tree), tree) for tree in inner)


def _reductions(tree: ast.expr) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if function_name(call.func, "") in REDUCTIONS]


@lru_cache(maxsize=256)
def even_powers(expression: Expression) -> frozenset[str]:
    """Return the columns that an expression raises to an even power, which hides their sign.

    An uncertainty of -0.1 m, for example, is invalid, but its square looks valid.
    """
    names = set()
    for node in ast.walk(expression.tree):
        match node:
            case ast.BinOp(left=ast.Name(id=name), op=ast.Pow(), right=exponent):
                # A sign does not change whether the exponent is even.
                while isinstance(exponent, ast.UnaryOp):
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
