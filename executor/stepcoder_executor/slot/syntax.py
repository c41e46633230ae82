"""What the painter of spans asks of syntax nodes: where they are and what is in them."""

import ast
from operator import attrgetter
from typing import Any

# First and last line, first and last column in bytes of UTF-8: as nodes and instructions have it.
Position = tuple[Any, Any, Any, Any]
PASSIVE = (ast.Pass, ast.Global, ast.Nonlocal)


# The place of a node, as an instruction of its own would have it.
extent = attrgetter("lineno", "end_lineno", "col_offset", "end_col_offset")
# Where a node begins, for sorting.
place = attrgetter("lineno", "col_offset")
# What holds no node with a place.
_WITHOUT_PLACE = frozenset({"ctx", "op", "ops", "id", "attr", "arg", "kind", "type_comment"})
_PLACED = frozenset(
    kind
    for kind in vars(ast).values()
    if isinstance(kind, type) and "lineno" in getattr(kind, "_attributes", ())
)
_WITH_PARTS = frozenset({ast.Lambda, ast.DictComp, ast.ListComp, ast.SetComp, ast.GeneratorExp})
_with_places: dict[type[ast.AST], tuple[str, ...]] = {}


def is_passive(node: ast.stmt) -> bool:
    """Whether a statement does nothing, so that the compiler may leave it out."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, PASSIVE) or (isinstance(node, ast.AnnAssign) and node.value is None)


def defaults(arguments: ast.arguments) -> list[ast.expr]:
    """The default values of parameters."""
    return [*arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)]


def children(node: ast.AST) -> list[Any]:
    """The nodes with a place of their own directly inside another."""
    kind = type(node)
    names = _with_places.get(kind)
    if names is None:
        names = tuple(name for name in kind._fields if name not in _WITHOUT_PLACE)
        _with_places[kind] = names
    found: list[Any] = []
    for name in names:
        value = getattr(node, name, None)
        if type(value) is list:
            found += [one for one in value if type(one) in _PLACED]
        elif type(value) in _PLACED:
            found.append(value)
    return found


def parts(node: ast.AST) -> list[Any]:
    """The nodes inside an expression. Annotations and parameters go with what declares them."""
    if type(node) not in _WITH_PARTS:
        return children(node)
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
    raise TypeError(f"{type(node).__name__} has no parts of its own")


def generator_parts(generators: list[ast.comprehension]) -> list[ast.expr]:
    """The targets, iterables and conditions of a comprehension."""
    return [part for one in generators for part in (one.target, one.iter, *one.ifs)]
