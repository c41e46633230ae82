"""What the painter of spans asks of syntax nodes: where they are and what is in them."""

import ast
from collections.abc import Iterable
from typing import Any

# First and last line, first and last column in bytes of UTF-8: as nodes and instructions have it.
Position = tuple[Any, Any, Any, Any]
PASSIVE = (ast.Pass, ast.Global, ast.Nonlocal)


def extent(node: Any) -> Position:
    """The place of a node, as an instruction of its own would have it."""
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def is_passive(node: ast.stmt) -> bool:
    """Whether a statement does nothing, so that the compiler may leave it out."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, PASSIVE) or (isinstance(node, ast.AnnAssign) and node.value is None)


def defaults(arguments: ast.arguments) -> list[ast.expr]:
    """The default values of parameters."""
    return [*arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)]


def parts(node: ast.AST) -> Iterable[ast.AST]:
    """The nodes inside an expression. Annotations and parameters go with what declares them."""
    match node:
        case ast.Lambda():
            return [*defaults(node.args), node.body]
        case ast.DictComp():
            # The two are stored by one instruction, whose place is both.
            pair = ast.Tuple([node.key, node.value], ast.Load())
            pair.lineno, pair.col_offset = node.key.lineno, node.key.col_offset
            pair.end_lineno, pair.end_col_offset = node.value.end_lineno, node.value.end_col_offset
            return [pair, *generator_parts(node.generators)]
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
            return [node.elt, *generator_parts(node.generators)]
    return ast.iter_child_nodes(node)


def generator_parts(generators: list[ast.comprehension]) -> list[ast.expr]:
    """The targets, iterables and conditions of a comprehension."""
    return [part for one in generators for part in (one.target, one.iter, *one.ifs)]


def place(node: Any) -> tuple[int, int]:
    """Where a node begins, for sorting."""
    return node.lineno, node.col_offset
