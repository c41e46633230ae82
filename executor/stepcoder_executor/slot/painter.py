"""Gives every character of a program its owner, from the syntax tree and the instructions' places.

An *owner* is the innermost syntax node with instructions that covers the character; it is executed
when one of its instructions runs. Where a node has none of its own (``a if c else b``), any
instruction inside it counts. A statement's own words (``return``, ``=``, ``if``, ``:``) go with
whatever ran of the statement outside its blocks; words that open a block (``else:``, ``try:``,
``finally:``) go with the block's first statement; comments, blank lines and docstrings with the
statement that follows, what ends a line with the statement on that line.
"""

import ast
import types
from array import array
from typing import Any

from slot.enclosing import Enclosing
from slot.source_text import SourceText
from slot.syntax import Position, children, defaults, extent, is_passive, parts, place

Marks = tuple[int, ...]
_NEVER = 0
_LEAVES = frozenset({ast.Name, ast.Constant})
_LEAVING = (ast.Return, ast.Raise, ast.Continue, ast.Break)


class Painter:
    """Walks the tree in source order and notes a cut wherever the owner changes."""

    def __init__(self, source: str, positions: set[Position]) -> None:
        self.n_owners = 1
        self._text = SourceText(source)
        self._positions = positions
        self._cuts: list[tuple[int, int]] = []
        self._marks: dict[Position, Marks] = {}
        self._same_as: dict[int, int] = {}
        self._entries: dict[tuple[int, str], int] = {}
        self._around: Enclosing | None = None

    def paint(self, tree: ast.Module) -> None:
        """Give every character of the program an owner."""
        self._block(tree.body, 0, _NEVER)

    def segments(self) -> "tuple[array[int], array[int]]":
        """The cuts as segment starts and owners, the same owner never twice in a row."""
        starts, owners = array("I", [0]), array("I", [_NEVER])
        for offset, cut_owner in self._cuts:
            owner = cut_owner
            while owner in self._same_as:
                owner = self._same_as[owner]
            if offset <= starts[-1]:
                owners[-1] = owner
            elif owner != owners[-1]:
                starts.append(offset)
                owners.append(owner)
        return starts, owners

    def marks(self, position: Position) -> Marks:
        """The owners that an instruction at ``position`` marks."""
        found = self._marks.get(position)
        if found is None:
            found = self._marks[position] = self._enclosing(position)
        return found

    def mark_entry(self, code: types.CodeType, table: list[Marks]) -> None:
        """Let entering a function mark a body that has no instruction of its own."""
        entry = self._entries.get((code.co_firstlineno, code.co_name))
        if entry is not None:
            table[:] = [marks or (entry,) for marks in table]

    def _new_owner(self) -> int:
        self.n_owners += 1
        return self.n_owners - 1

    def _block(self, body: list[ast.stmt], start: int, parent: int) -> int:
        """Paint the statements of a block; the text from ``start`` on goes with the first.

        Returns the owner of the first. ``parent`` stands in where nothing has an instruction.
        """
        owners = [self._new_owner() for _ in body]
        silent = []
        for k, statement in enumerate(body):
            self._cuts.append((start, owners[k]))
            has_code = self._statement(statement, owners[k])
            if not has_code and is_passive(statement):
                silent.append(k)
            start = self._text.next_line(self._text.end(statement))
        for k in silent:
            self._stand_in(body, owners, k, silent, parent)
        return owners[0] if owners else parent

    def _stand_in(
        self, body: list[ast.stmt], owners: list[int], k: int, silent: list[int], parent: int
    ) -> None:
        """Let a statement without instructions go with the next, else with the one before."""
        if k + 1 < len(body):
            self._same_as[owners[k]] = owners[k + 1]
            return
        before = [j for j in range(k) if j not in silent]
        if not before:
            self._same_as[owners[k]] = parent
        elif not isinstance(body[before[-1]], _LEAVING):
            self._same_as[owners[k]] = owners[before[-1]]

    def _statement(self, node: ast.stmt, owner: int) -> bool:
        """Paint one statement; whether it has any instruction outside its blocks."""
        has_code = self._own(node, owner, ())
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._expressions([*node.decorator_list, *defaults(node.args)], owner, (owner,))
                self._function_body(node)
            case ast.ClassDef():
                header = [*node.decorator_list, *node.bases, *node.keywords]
                self._expressions(header, owner, (owner,))
                self._blocks([node.body], owner, has_code=True)
            case ast.If() | ast.While():
                has_code |= self._expressions([node.test], owner, (owner,))
                self._blocks([node.body, node.orelse], owner, has_code=has_code)
            case ast.For() | ast.AsyncFor():
                self._expressions([node.target, node.iter], owner, (owner,))
                self._blocks([node.body, node.orelse], owner, has_code=True)
            case ast.With() | ast.AsyncWith():
                parts = [part for item in node.items for part in children(item)]
                self._expressions(parts, owner, (owner,))
                self._blocks([node.body], owner, has_code=True)
            case ast.Try() | ast.TryStar():
                self._try(node, owner)
            case ast.Match():
                self._expressions([node.subject], owner, (owner,))
                for case in node.cases:
                    self._case(case)
            case ast.AnnAssign():
                parts = [part for part in (node.target, node.value) if part is not None]
                has_code |= self._expressions(parts, owner, (owner,))
            case _:
                has_code |= self._expressions(children(node), owner, (owner,))
        return has_code

    def _function_body(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        entry = self._new_owner()
        first_line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        self._entries[first_line, node.name] = entry
        self._block(node.body, self._text.lead(self._first(node.body)), entry)

    def _blocks(self, blocks: list[list[ast.stmt]], owner: int, *, has_code: bool) -> None:
        """Paint the blocks of a statement; a header without instructions goes with the first."""
        first, *others = blocks
        start = self._text.lead(self._first(first))
        opened = self._block(first, start, owner)
        if not has_code:
            self._same_as[owner] = opened
        end = self._text.end(first[-1])
        for body in filter(None, others):
            self._block(body, self._text.next_line(end), _NEVER)
            end = self._text.end(body[-1])

    def _try(self, node: ast.Try | ast.TryStar, owner: int) -> None:
        self._blocks([node.body], owner, has_code=False)
        end = self._text.end(node.body[-1])
        for handler in node.handlers:
            index = self._new_owner()
            self._cuts.append((self._text.next_line(end), index))
            has_code = self._own(handler, index, ())
            if handler.type is not None:
                has_code |= self._expressions([handler.type], index, (index,))
            self._blocks([handler.body], index, has_code=has_code)
            end = self._text.end(handler)
        for body in filter(None, (node.orelse, node.finalbody)):
            self._block(body, self._text.next_line(end), _NEVER)
            end = self._text.end(body[-1])

    def _case(self, case: ast.match_case) -> None:
        index = self._new_owner()
        keyword = self._text.source.rfind("case", 0, self._text.start(case.pattern))
        self._cuts.append((self._text.lead(keyword), index))
        parts = [case.pattern] if case.guard is None else [case.pattern, case.guard]
        has_code = self._expressions(parts, index, (index,))
        self._blocks([case.body], index, has_code=has_code)

    def _expressions(self, nodes: list[Any], owner: int, up: Marks) -> bool:
        """Paint child nodes in source order; whether any has an instruction."""
        if len(nodes) > 1:
            nodes.sort(key=place)
        found = False
        for node in nodes:
            found |= self._expression(node, owner, up)
        return found

    def _expression(self, node: Any, parent: int, up: Marks) -> bool:
        """Paint one expression. ``up``: the owners that whatever runs inside marks too."""
        owner = self.n_owners
        self.n_owners += 1
        has_own = self._own(node, owner, up)
        is_leaf = type(node) in _LEAVES
        if is_leaf and not has_own:
            return False
        self._cuts.append((self._text.start(node), owner))
        found = not is_leaf and self._expressions(
            parts(node), owner, up if has_own else (owner, *up)
        )
        self._cuts.append((self._text.end(node), parent))
        if not has_own and not found and not isinstance(node, ast.Call):
            # Folded into a constant of the parent. A call is never folded: it cannot be reached.
            self._same_as[owner] = parent
        return has_own or found

    def _own(self, node: ast.AST, owner: int, up: Marks) -> bool:
        """Give ``owner`` the instructions at exactly this node's place; whether there are any."""
        place = extent(node)
        if place not in self._positions:
            return False
        self._marks[place] = (owner, *up, *self._marks.get(place, ()))
        return True

    def _enclosing(self, position: Position) -> Marks:
        """The marks of the smallest node around a place that is no node's own."""
        line, end_line, column, end_column = position
        if line is None or end_line is None or column is None or end_column is None:
            return ()
        if (line, column) >= (end_line, end_column):
            return ()
        if self._around is None:
            self._around = Enclosing(self._marks)
        around = self._around.smallest(position)
        return () if around is None else self._marks[around]

    def _first(self, body: list[ast.stmt]) -> int:
        """Where a block's first statement begins, its decorators included."""
        decorators = getattr(body[0], "decorator_list", [])
        if not decorators:
            return self._text.start(body[0])
        return self._text.source.rfind("@", 0, self._text.start(decorators[0]))
