"""Programs that are the same but for names, layout, comments and annotations."""

import ast
import builtins

from stepcoder_jax.source_text import parse

# Shorter programs are alike without one being a copy of the other.
_LEAST_NODES = 40
_KEPT = frozenset(dir(builtins))


def shape(source: str) -> str | None:
    """What is left of a program without its names, imports, docstrings and annotations.

    Names are numbered as they come; those of built-ins and attributes stay. Methods of a class that
    is all there is are as functions. None of a program that is short or cannot be parsed.
    """
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    if len(body) == 1 and isinstance(body[0], ast.ClassDef):
        body = body[0].body
    bare = _Nameless().visit(ast.Module(body=body, type_ignores=[]))
    is_short = sum(1 for _ in ast.walk(bare)) < _LEAST_NODES
    return None if is_short else ast.dump(bare)


class _Nameless(ast.NodeTransformer):
    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name = self._numbered(node.name)
        node.returns = None
        node.args.args = [arg for arg in node.args.args if arg.arg != "self"]
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(arg=self._numbered(node.arg))

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(id=self._numbered(node.id), ctx=node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return ast.Name(id=self._numbered(node.attr), ctx=node.ctx)
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return ast.Pass()
        plain = ast.Assign(targets=[node.target], value=node.value)
        self.generic_visit(plain)
        return plain

    def _numbered(self, name: str) -> str:
        if name in _KEPT:
            return name
        return self._numbers.setdefault(name, f"n{len(self._numbers)}")
