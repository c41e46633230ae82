"""Random programs in which every part writes its own marker when it runs.

``m(k)`` notes k and returns a number, so that which markers ran is known by running the program.
"""

from random import Random

PREAMBLE = """\
seen = []
def m(k, value=None):
    seen.append(k)
    return k % 3 if value is None else value
class Manager:
    def __enter__(self): return 1
    def __exit__(self, *error): return True
"""


class Generator:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._markers = 0
        self._functions = 0

    def program(self) -> str:
        body = self._block(depth=0, in_loop=False, in_function=False)
        return f"{PREAMBLE}{body}"

    def _marker(self) -> str:
        self._markers += 1
        return f"m({self._markers})"

    def _block(self, depth: int, in_loop: bool, in_function: bool) -> str:
        lines = []
        for _ in range(self._random.randint(1, 3)):
            if self._random.random() < 0.2:
                lines.append(self._random.choice(["# a note: é", ""]))
            lines += self._statement(depth, in_loop, in_function).split("\n")
        return "\n".join(lines) + "\n"

    def _indented(self, depth: int, in_loop: bool, in_function: bool) -> str:
        block = self._block(depth + 1, in_loop, in_function)
        return "".join(f"    {line}\n" if line else "\n" for line in block.splitlines())

    def _statement(self, depth: int, in_loop: bool, in_function: bool) -> str:
        simple = ["expression", "expression", "assign", "assert", "augmented"]
        simple += ["continue", "break"] if in_loop else []
        simple += ["return"] if in_function else []
        compound = ["if", "if", "for", "while", "try", "with", "match", "def", "finally"]
        kind = self._random.choice(simple if depth > 2 else simple + compound)
        return str(getattr(self, f"_{kind}")(depth, in_loop, in_function)).rstrip("\n")

    def _expression(self, *_: object) -> str:
        return self._value(0)

    def _assign(self, *_: object) -> str:
        return f"x = {self._value(0)}"

    def _augmented(self, *_: object) -> str:
        return f"x = 1; x += {self._marker()}"

    def _assert(self, *_: object) -> str:
        return f"assert [{self._value(1)}], {self._marker()}"

    def _continue(self, *_: object) -> str:
        return f"if {self._value(1)}: continue"

    def _break(self, *_: object) -> str:
        return f"if {self._value(1)}:\n    {self._marker()}\n    break"

    def _return(self, *_: object) -> str:
        return f"if {self._value(1)}:\n    return {self._marker()}"

    def _if(self, depth: int, in_loop: bool, in_function: bool) -> str:
        inner = (depth, in_loop, in_function)
        text = f"if {self._value(1)}:\n{self._indented(*inner)}"
        if self._random.random() < 0.4:
            text += f"elif {self._value(1)}:\n{self._indented(*inner)}"
        if self._random.random() < 0.5:
            text += f"else:\n{self._indented(*inner)}"
        return text

    def _for(self, depth: int, in_loop: bool, in_function: bool) -> str:
        text = f"for i in range({self._marker()}):\n{self._indented(depth, True, in_function)}"
        if self._random.random() < 0.3:
            text += f"else:\n{self._indented(depth, in_loop, in_function)}"
        return text

    def _while(self, depth: int, in_loop: bool, in_function: bool) -> str:
        name = f"n{self._next()}"
        body = self._indented(depth, True, in_function)
        return f"{name} = 0\nwhile {name} < {self._marker()}:\n    {name} += 1\n{body}"

    def _try(self, depth: int, in_loop: bool, in_function: bool) -> str:
        inner = (depth, in_loop, in_function)
        failing = self._random.choice(["[][m({0})]", "{{}}[m({0})]", "m({0})"])
        self._markers += 1
        text = f"try:\n    {failing.format(self._markers)}\n{self._indented(*inner)}"
        text += f"except IndexError as error:\n{self._indented(*inner)}"
        text += f"except (KeyError, [ValueError][m({self._next()}, 0)]):\n{self._indented(*inner)}"
        if self._random.random() < 0.4:
            text += f"else:\n{self._indented(*inner)}"
        return text

    def _finally(self, depth: int, in_loop: bool, in_function: bool) -> str:
        body = self._indented(depth, False, False)
        return f"try:\n{body}finally:\n{self._indented(depth, False, False)}"

    def _with(self, depth: int, in_loop: bool, in_function: bool) -> str:
        inner = self._indented(depth, in_loop, in_function)
        raising = self._random.choice(["", f"    1 / {self._marker()}\n    {self._marker()}\n"])
        return f"with Manager() as x, m({self._next()}, Manager()):\n{raising}{inner}"

    def _match(self, depth: int, in_loop: bool, in_function: bool) -> str:
        inner = (depth, in_loop, in_function)
        text = f"match {self._value(1)}:\n"
        for pattern in self._random.sample(["0", "1 | 5", "int(y)", "[1, *_]", "{'a': 2}"], 2):
            guard = f" if {self._marker()}" if self._random.random() < 0.5 else ""
            body = "".join(f"    {line}\n" for line in self._indented(*inner).splitlines())
            text += f"    case {pattern}{guard}:\n{body}"
        body = "".join(f"    {line}\n" for line in self._indented(*inner).splitlines())
        return f"{text}    case _:\n{body}"

    def _def(self, depth: int, in_loop: bool, in_function: bool) -> str:
        self._functions += 1
        name = f"g{self._functions}"
        decorated = "@(lambda h: h)\n" if self._random.random() < 0.3 else ""
        documented = '    """What it does."""\n' if self._random.random() < 0.3 else ""
        body = self._indented(depth, False, True)
        text = f"{decorated}def {name}(a={self._marker()}, *b):\n{documented}{body}"
        return text + self._random.choice(["", f"{name}()", f"{name}({self._marker()})"])

    def _next(self) -> int:
        self._markers += 1
        return self._markers

    def _value(self, depth: int) -> str:
        kinds = ["marker"] if depth > 3 else ["marker", "ternary", "and", "or", "not", "chain"]
        kinds += [] if depth > 3 else ["list", "dict", "lambda", "call", "text", "lines", "sum"]
        a, b, c = (self._value(depth + 2) if depth < 3 else self._marker() for _ in range(3))
        match self._random.choice(kinds):
            case "ternary":
                return f"({a} if {b} else {c})"
            case "and":
                return f"({a} and {b} and {c})"
            case "or":
                return f"({a} or {b})"
            case "not":
                return f"(not {a})"
            case "chain":
                return f"({a} < {b} < {c})"
            case "list":
                return f"len([{a} for k in range({self._marker()}) if {b}])"
            case "dict":
                return f"len({{{a}: {b} for k in range({self._marker()})}})"
            case "lambda":
                return self._random.choice([f"(lambda: {a})()", f"bool(lambda: {a})"])
            case "call":
                return f"max({a}, {b}, key=lambda v: {c})"
            case "text":
                return f"len(f'é{{{a}}}ü{{{b}!r:>4}}')"
            case "lines":
                return f"max(\n    {a},\n    {b},  # é\n)"
            case "sum":
                return f"sum({a} for k in [1, 2] if {b})"
        return self._marker()
