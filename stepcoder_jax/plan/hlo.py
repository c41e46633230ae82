"""What a compiled program's text says: its computations, and how often each of them runs."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

_NAME = re.compile(r"%([\w.-]+)")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%([\w.-]+) = ")
_HEADER = re.compile(r"^(ENTRY )?%([\w.-]+) \(.*\{$")
_ARRAY = re.compile(r"\b([a-z]\d*[a-z]*\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\](\{[^}]*\})?")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|true_computation|false_computation)=%([\w.-]+)"
    r"|\bbranch_computations=\{([^}]*)\}"
)
_CONDITION = re.compile(r"\bcondition=%([\w.-]+)")
_PLACE = re.compile(r"\bindex=(\d+)")
_COMMENT = re.compile(r"/\*.*?\*/")
# A call that is begun and ended is what runs beside the others: on a TPU's SparseCore.
_CALLERS = ("fusion", "while", "call", "call-start", "conditional", "async-start")
_ELEMENT_BITS = {"pred": 8, "token": 0, "opaque": 0}


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One line.

    Attributes:
      type: of its result, layouts included.
      arguments: what stands between its parentheses.
      attributes: what follows them.
    """

    name: str
    type: str
    opcode: str
    arguments: str
    attributes: str
    is_root: bool

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the instructions whose results it takes."""
        return tuple(_NAME.findall(self.arguments))

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations that it runs, a loop's condition left out."""
        found = _CALLED.findall(self.attributes)
        return tuple(n for one, many in found for n in ([one] if one else _NAME.findall(many)))


@dataclass(frozen=True, kw_only=True)
class Module:
    """A program: its computations by name, each with its instructions by name, in order."""

    entry: str
    computations: Mapping[str, Mapping[str, Instruction]]

    def runs(self) -> Iterator[tuple[str, int, bool]]:
        """Computation, how often it runs, whether it is inside of a fusion; callers first."""
        for name, (count, is_fused) in self._counts.items():
            yield name, count, is_fused

    @cached_property
    def _counts(self) -> dict[str, tuple[int, bool]]:
        counts: dict[str, tuple[int, bool]] = {}

        def visit(name: str, count: int, is_fused: bool) -> None:
            before = counts.get(name, (0, is_fused))
            counts[name] = (before[0] + count, is_fused and before[1])
            for instruction in self.computations[name].values():
                # What folds elements of an array is no computation of its own.
                if instruction.opcode in _CALLERS:
                    times = self.trips(instruction) if instruction.opcode == "while" else 1
                    fused = is_fused or instruction.opcode == "fusion"
                    for called in instruction.called:
                        visit(called, count * times, fused)

        visit(self.entry, 1, False)
        return counts

    def trips(self, loop: Instruction) -> int:
        """How often a loop's body runs: known of one that counts to a constant, else 1."""
        condition = self.computations[_CONDITION.findall(loop.attributes)[0]]
        root = next(i for i in condition.values() if i.is_root)
        while root.opcode == "fusion":
            # The compiler may wrap the comparison alone.
            inner = self.computations[root.called[0]]
            compared = next(i for i in inner.values() if i.is_root)
            if compared.opcode != "compare":
                return 1
            root = Instruction(**{**vars(compared), "arguments": root.arguments})
        compared_to = [condition[o] for o in root.operands if o in condition]
        limits = [number for i in compared_to if (number := _number(i)) is not None]
        if root.opcode != "compare" or len(limits) != 1:
            return 1
        places = [int(at[1]) for i in compared_to if (at := _PLACE.search(i.attributes))]
        return math.ceil(limits[0] / self._step(loop, places[0])) if places else limits[0]

    def _step(self, loop: Instruction, place: int) -> int:
        """By how much a loop's counter grows: unrolled loops count by more than 1."""
        body = self.computations[loop.called[0]]
        root = next(i for i in body.values() if i.is_root)
        grown = body[root.operands[place]]
        added = [body[o] for o in grown.operands if o in body]
        if grown.opcode == "fusion":
            added += self.computations[grown.called[0]].values()
        return next((number for i in added if (number := _number(i))), 1)


def _number(instruction: Instruction) -> int | None:
    """Of a constant that is one."""
    is_number = instruction.opcode == "constant" and instruction.arguments.isdigit()
    return int(instruction.arguments) if is_number else None


def parse(text: str) -> Module:
    """Reads what ``Compiled.as_text`` wrote.

    Raises:
      ValueError: there is no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, inside = "", None
    for line in text.splitlines():
        if header := _HEADER.match(line):
            inside = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif inside is not None and (found := _INSTRUCTION.match(line)):
            rest = _COMMENT.sub("", line[found.end() :])
            type_end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
            opening = rest.index("(", type_end)
            closing = _closing(rest, opening)
            inside[found[2]] = Instruction(
                name=found[2],
                type=rest[:type_end],
                opcode=rest[type_end:opening].strip(),
                arguments=rest[opening + 1 : closing],
                attributes=rest[closing + 1 :],
                is_root=found[1] is not None,
            )
    if not entry:
        raise ValueError("this is no compiled program: it has no ENTRY computation")
    return Module(entry=entry, computations=computations)


def _closing(text: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    raise ValueError(f"unbalanced parentheses: {text[:80]}")


def byte_count(type_text: str, *, main_memory_only: bool = False) -> int:
    """Bytes of the arrays of a type.

    Args:
      main_memory_only: without those that the compiler keeps in a core's own memory, S(1) and up.
    """
    total = 0
    for kind, sizes, layout in _ARRAY.findall(type_text):
        if not (main_memory_only and "S(" in layout):
            total += math.prod(int(s) for s in sizes.split(",") if s) * _element_bits(kind) // 8
    return total


def _element_bits(kind: str) -> int:
    if kind in _ELEMENT_BITS:
        return _ELEMENT_BITS[kind]
    digits = re.match(r"[a-z]+(\d+)", kind)
    return int(digits[1]) if digits else 0


def dimensions(type_text: str) -> tuple[int, ...]:
    """Sizes of the axes of an array's type."""
    return tuple(int(size) for size in _ARRAY.findall(type_text)[0][1].split(",") if size)
