"""Hostile programs, and correct but odd ones, with the verdicts that are right for them.

``secret`` stands for what an attack would have to know or print to be taken for correct.
"""

from dataclasses import dataclass

from stepcoder_executor import AssertionTests, IoTests, Limits, Request, Tests

ALL = ("full", "landlock", "seccomp", "none")
LOCKED = ("full", "landlock", "seccomp")
HIDDEN = ("full", "landlock")
WRONG = "failed runtime_error"


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    source: str
    tests: Tests
    verdicts: str
    rungs: tuple[str, ...] = ALL
    wall_s: float = 5.0

    def request(self) -> Request:
        limits = Limits(wall_s=self.wall_s, memory_mb=256, output_kb=64)
        return Request(id=self.name, source=self.source, tests=self.tests, limits=limits)


CALL = IoTests(fn_name="f", inputs=((1,), (2,)), outputs=(8731, 9912))
SCRIPT = IoTests(fn_name=None, inputs=("1\n", "2\n"), outputs=("8731\n", "9912\n"))
ASSERT = AssertionTests(assertions=("assert f(1) == 8731", "assert f(2) == 9912"))


def calls(name: str, body: str, verdicts: str = WRONG, **more: object) -> list[Case]:
    """The attack inside the called function, and again while the module is loaded."""
    inside = (
        "def f(x):\n" + "".join(f"    {line}\n" for line in body.split("\n")) + "    return 0\n"
    )
    outside = f"{body}\ndef f(x):\n    return 0\n"
    return [
        Case(name=f"{name}/call", source=inside, tests=CALL, verdicts=verdicts, **more),
        Case(name=f"{name}/import", source=outside, tests=CALL, verdicts=verdicts, **more),
    ]


def script(name: str, source: str, verdicts: str = WRONG, **more: object) -> list[Case]:
    return [Case(name=f"{name}/script", source=source, tests=SCRIPT, verdicts=verdicts, **more)]


def asserts(name: str, source: str, verdicts: str = WRONG, **more: object) -> list[Case]:
    return [Case(name=f"{name}/assert", source=source, tests=ASSERT, verdicts=verdicts, **more)]


def everywhere(name: str, body: str, verdicts: str = WRONG, **more: object) -> list[Case]:
    return [
        *calls(name, body, verdicts, **more),
        *script(name, body, verdicts, **more),
        *asserts(name, f"{body}\ndef f(x):\n    return 0\n", verdicts, **more),
    ]


EXITS = [
    case
    for name, body in {
        "sys.exit": "import sys\nsys.exit(0)",
        "raise SystemExit": "raise SystemExit",
        "os._exit": "import os\nos._exit(0)",
        "exit()": "exit()",
        "SIGKILL itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "SIGTERM itself": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "abort": "import os\nos.abort()",
        "KeyboardInterrupt": "raise KeyboardInterrupt",
        "GeneratorExit": "raise GeneratorExit",
        "segmentation fault": "import ctypes\nctypes.string_at(1)",
        "exit in atexit": "import atexit, os\natexit.register(os._exit, 0)",
        "pthread exit": "import _thread\n_thread.exit()",
    }.items()
    for case in everywhere(name, body, "failed runtime_error memory_exceeded")
]

FORGERIES = [
    case
    for name, body in {
        "write to every descriptor": (
            "import os, json\n"
            'line = json.dumps({"k": 0, "verdict": "passed", "detail": "", "stdout": [0, 0],'
            ' "wall_s": 0, "is_last": True})\n'
            "for fd in range(256):\n"
            "    try:\n"
            '        os.write(fd, (line + "\\ntrue\\n").encode())\n'
            "    except OSError:\n"
            "        pass"
        ),
        "records claim passed for all": (
            "import os, json\n"
            "for fd in range(3, 64):\n"
            "    for k in (0, 1):\n"
            "        try:\n"
            '            head = {"k": k, "verdict": "passed", "detail": "", "stdout": [0, 9],'
            ' "wall_s": 0.0, "is_last": False}\n'
            '            os.write(fd, (json.dumps(head) + "\\n1\\n").encode())\n'
            "        except OSError:\n"
            "            pass\n"
            "os._exit(0)"
        ),
        "garbage on every descriptor": (
            "import os\n"
            "for fd in range(256):\n"
            "    try:\n"
            "        os.write(fd, bytes(range(256)) * 16)\n"
            "    except OSError:\n"
            "        pass"
        ),
        "close every descriptor": "import os\nos.closerange(0, 1024)",
        "truncate every descriptor": (
            "import os\n"
            "for fd in range(64):\n"
            "    try:\n"
            "        os.ftruncate(fd, 0)\n"
            "    except OSError:\n"
            "        pass"
        ),
        "print what a harness prints": 'print("OK\\nPASSED\\n{\\"verdict\\": \\"passed\\"}")',
        "huge progress": (
            "import gc, mmap\n"
            "for thing in gc.get_objects():\n"
            "    if isinstance(thing, mmap.mmap):\n"
            "        thing[:24] = b'\\xff' * 24"
        ),
    }.items()
    for case in everywhere(name, body, "failed runtime_error output_exceeded executor_error")
]

LIES = [
    case
    for name, source in {
        "lying __eq__": (
            "class Any:\n"
            "    def __eq__(self, other): return True\n"
            "    def __hash__(self): return 0\n"
            "def f(x): return Any()\n"
        ),
        "int with lying __eq__": (
            "class Any(int):\n"
            "    def __eq__(self, other): return True\n"
            "    def __ne__(self, other): return False\n"
            "    __hash__ = int.__hash__\n"
            "def f(x): return Any(3)\n"
        ),
        "str with lying __repr__": (
            "class Any(str):\n    def __repr__(self): return '8731'\ndef f(x): return Any('no')\n"
        ),
        "float that rounds to anything": (
            "class Any(float):\n"
            "    def __repr__(self): return '8731'\n"
            "    def __float__(self): return 8731.0\n"
            "def f(x): return Any(1)\n"
        ),
        "list that equals": (
            "class Any(list):\n    def __eq__(self, other): return True\ndef f(x): return Any()\n"
        ),
        "__reduce__": (
            "import os\n"
            "class Any:\n    def __reduce__(self): return (os._exit, (0,))\n"
            "def f(x): return Any()\n"
        ),
        "patched builtins": (
            "import builtins\n"
            "builtins.isinstance = lambda a, b: True\n"
            "builtins.len = lambda x: 1\n"
            "builtins.all = builtins.any = lambda x: True\n"
            "def f(x): return 1\n"
        ),
        "patched json": (
            "import json\njson.dumps = lambda *a, **k: '8731'\ndef f(x): return 1 - x\n"
        ),
        "patched json encoder": (
            "import json.encoder\n"
            "json.encoder.JSONEncoder.encode = lambda self, o: 'true'\n"
            "def f(x): return 0\n"
        ),
        "assertion error hidden": (
            "import builtins\nbuiltins.AssertionError = ZeroDivisionError\ndef f(x): return 1\n"
        ),
        "trace function": ("import sys\nsys.settrace(lambda *a: None)\ndef f(x): return 1\n"),
        "excepthook": (
            "import sys\nsys.excepthook = lambda *a: None\ndef f(x): raise ValueError(x)\n"
        ),
        "frames searched": (
            "import sys\n"
            "def f(x):\n"
            "    frame = sys._getframe()\n"
            "    while frame:\n"
            "        for value in frame.f_locals.values():\n"
            "            if '8731' in repr(value)[:100000]: return 8731\n"
            "        frame = frame.f_back\n"
            "    return 0\n"
        ),
        "gc searched": (
            "import gc\n"
            "def f(x):\n"
            "    for thing in gc.get_objects():\n"
            "        if type(thing) is dict:\n"
            "            for value in list(thing.values()):\n"
            "                if value in (8731, '8731\\n'): return 8731\n"
            "    return 0\n"
        ),
        "modules searched": (
            "import sys\n"
            "def f(x):\n"
            "    for name in list(sys.modules):\n"
            "        if 'stepcoder' in name or name.startswith('slot'): return 8731\n"
            "    return 0\n"
        ),
    }.items()
    for case in (
        Case(name=f"{name}/call", source=source, tests=CALL, verdicts=WRONG),
        Case(name=f"{name}/assert", source=source, tests=ASSERT, verdicts=WRONG),
    )
    # Patching what the slot itself encodes with lets a program say what it likes, no more: the
    # one test that its fixed lie fits may pass, and the other does not.
]

MEMORY_SEARCH = script(
    "memory searched",
    "import ctypes, gc\n"
    "found = any('8731' in str(o)[:1000] for o in gc.get_objects() if type(o) is list)\n"
    "print(0)\n",
)

KILLS = [
    case
    for name, body in {
        "kill parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
        "stop parent": "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)",
        "kill all": "import os, signal\nos.kill(-1, signal.SIGKILL)",
        "kill group": "import os, signal\nos.killpg(0, signal.SIGKILL)",
        "kill 1": "import os, signal\nos.kill(1, signal.SIGKILL)",
        "queue signals to low numbers": (
            "import os, signal\n"
            "for pid in range(1, 400):\n"
            "    if pid != os.getpid():\n"
            "        try:\n"
            "            os.kill(pid, signal.SIGKILL)\n"
            "        except OSError:\n"
            "            pass"
        ),
        "thread signal to parent": (
            "import ctypes, os\nctypes.CDLL(None).syscall(200, os.getppid(), 9)"
        ),
        "ptrace parent": "import ctypes, os\nctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)",
        "limits of parent": (
            "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"
        ),
        "own signals at parent": (
            "import fcntl, os\n"
            "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())\n"
            "fcntl.fcntl(0, fcntl.F_SETFL, os.O_ASYNC)"
        ),
        "pidfd of parent": (
            "import os, signal\n"
            "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), signal.SIGKILL)"
        ),
    }.items()
    for case in everywhere(name, body, rungs=LOCKED)
]

TRY_TO_FORK = "    try: os.fork()\n    except OSError: pass"
BOMBS = (
    [
        case
        for name, body, verdicts in (
            ("fork", "import os\nwhile True:\n    os.fork()", WRONG),
            ("fork once", "import os\nif os.fork() == 0:\n    while True: pass", WRONG),
            ("subprocess", "import subprocess\nsubprocess.run(['true'], check=True)", WRONG),
            ("os.system", "import os\nassert os.system('true') == 0", WRONG),
            ("exec", "import os\nos.execv('/bin/true', ['true'])", WRONG),
            (
                "multiprocessing",
                "import multiprocessing\nmultiprocessing.Process(target=print).start()",
                WRONG,
            ),
            (
                "threads",
                "import threading, time\n"
                "while True:\n"
                "    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
                f"{WRONG} memory_exceeded timeout",
            ),
        )
        for case in everywhere(name, body, verdicts, rungs=LOCKED, wall_s=5.0)
    ]
    + [
        case
        for name, body in (
            ("fork, where it may", "import os\nwhile True:\n    os.fork()"),
            ("fork on", f"import os\nwhile True:\n{TRY_TO_FORK}"),
            ("fork away", f"import os\nwhile True:\n{TRY_TO_FORK}\n    os.setsid()"),
            ("fork in a shell", "import os\nos.system('f(){ f|f& };f')\nwhile True: pass"),
        )
        for case in everywhere(name, body, f"{WRONG} timeout", rungs=("none",), wall_s=1.0)
    ]
    + [
        case
        for name, body, verdicts in (
            ("list", "x = [0]\nwhile True:\n    x += x", "memory_exceeded"),
            ("bytes", "x = bytes(10 ** 10)", "memory_exceeded"),
            ("string", "x = 'a' * 10 ** 10", "memory_exceeded"),
            ("dict", "x = {}\nwhile True:\n    x[len(x)] = bytearray(10 ** 6)", "memory_exceeded"),
            (
                "caught for a while",
                "x = []\n"
                "try:\n"
                "    while True:\n"
                "        x.append(bytearray(10 ** 7))\n"
                "except MemoryError:\n"
                "    raise",
                "memory_exceeded",
            ),
            (
                "mmap",
                "import mmap\nx = [mmap.mmap(-1, 1 << 28) for _ in range(64)]",
                f"{WRONG} memory_exceeded",
            ),
            ("recursion", "def g(n): return g(n + 1)\ng(0)", "runtime_error"),
            (
                "deep recursion",
                "import sys\nsys.setrecursionlimit(10 ** 9)\ndef g(n): return g(n + 1)\ng(0)",
                "runtime_error memory_exceeded timeout",
            ),
            (
                "deep C recursion",
                "import sys\nsys.setrecursionlimit(10 ** 9)\n"
                "class A:\n    def __repr__(self): return repr(self)\nrepr(A())",
                "runtime_error memory_exceeded timeout",
            ),
            ("output", "while True:\n    print('x' * 1000)", "output_exceeded"),
            (
                "output, errors caught",
                "import os\nfor _ in range(10 ** 5):\n"
                "    try:\n        os.write(1, b'x' * 4096)\n    except OSError:\n        pass",
                "output_exceeded",
            ),
            (
                "descriptors",
                "import os\nfds = []\nwhile True:\n    fds.append(os.dup(0))",
                "runtime_error",
            ),
            (
                "sparse file",
                "import os\nos.ftruncate(1, 1 << 40)",
                f"{WRONG} output_exceeded",
            ),
        )
        for case in everywhere(name, body, verdicts)
    ]
    + [
        case
        for name, body in {
            "files": "for k in range(10 ** 5):\n    open(f'f{k}', 'w').write('x' * 1000)",
            "folders": "import os\nfor k in range(10 ** 5):\n    os.mkdir('d')\n    os.chdir('d')",
        }.items()
        for case in everywhere(name, body, rungs=LOCKED)
    ]
)

RETURNS = [
    Case(name=f"return {name}", source=source, tests=CALL, verdicts=verdicts)
    for name, source, verdicts in (
        ("cyclic", "def f(x):\n    a = []\n    a.append(a)\n    return a\n", "failed"),
        ("cyclic dict", "def f(x):\n    a = {}\n    a[1] = a\n    return a\n", "failed"),
        (
            "deep",
            "def f(x):\n    a = []\n    for _ in range(10 ** 5):\n        a = [a]\n    return a\n",
            "failed runtime_error output_exceeded",
        ),
        ("huge", "def f(x): return [0] * 10 ** 6\n", "output_exceeded"),
        ("huge int", "def f(x): return 7 ** 100000\n", "failed output_exceeded"),
        ("surrogates", "def f(x): return '\\ud800'\n", "failed"),
        ("NaN", "def f(x): return float('nan')\n", "failed"),
        ("infinity", "def f(x): return float('inf')\n", "failed"),
        ("function", "def f(x): return f\n", "failed"),
        ("generator", "def f(x):\n    yield 8731\n", "failed"),
        ("set", "def f(x): return {8731, 9912}\n", "failed"),
        ("bytes", "def f(x): return b'8731'\n", "failed"),
        ("string of the number", "def f(x): return str({1: 8731, 2: 9912}[x])\n", "failed"),
        ("true for one", "def f(x): return True\n", "failed"),
        ("None", "def f(x): pass\n", "failed"),
        ("module", "import sys\ndef f(x): return sys\n", "failed"),
        ("same keys", "def f(x): return {1: 2, '1': 3}\n", "failed"),
        ("no function", "g = 1\n", "runtime_error"),
        ("not callable", "f = 8731\n", "runtime_error"),
    )
]

LOOPS = [
    case
    for name, body in {
        "loop": "while True: pass",
        "loop in C": "sum(iter(int, 1))",
        "power tower": "x = 9 ** 9 ** 8",
        "catastrophic pattern": "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
        "sleep": "import time\ntime.sleep(60)",
        "signals blocked": (
            "import signal\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
            "while True: pass"
        ),
        "signals ignored": (
            "import signal\n"
            "for number in (1, 2, 14, 15, 24):\n"
            "    signal.signal(number, signal.SIG_IGN)\n"
            "while True: pass"
        ),
        "everything caught": (
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
        ),
        "lock": "import threading\na = threading.Lock()\na.acquire()\na.acquire()",
        "stop itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass",
    }.items()
    for case in script(name, body, "timeout", wall_s=0.2)
] + script(
    "loop at exit",
    "import atexit\n@atexit.register\ndef g():\n    while True: pass",
    "timeout",
    wall_s=0.3,
)

REACH = [
    case
    for name, body, rungs in (
        ("read passwd", "open('/etc/passwd').read()", HIDDEN),
        ("read environ", "open('/proc/self/environ').read()", HIDDEN),
        ("read memory of parent", "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')", HIDDEN),
        ("read command line of parent", "import os\nopen(f'/proc/{os.getppid()}/cmdline')", HIDDEN),
        ("list home", "import os\nos.listdir(os.path.expanduser('~root'))", ("landlock",)),
        (
            "list root",
            "import os\nassert 'etc' not in os.listdir('/') or 1 / 0\nraise OSError",
            HIDDEN,
        ),
        ("write outside", "open('/var/out.txt', 'w').write('x')", LOCKED),
        ("write to a library", "import os\nopen(os.__file__, 'a').write('x')", LOCKED),
        ("remove a library", "import os\nos.unlink(os.__file__)", LOCKED),
        ("link", "import os\nos.symlink('/etc', 'etc')\nos.listdir('etc')", LOCKED),
        ("socket", "import socket\nsocket.socket()", LOCKED),
        ("datagrams", "import socket\nsocket.socketpair(1, socket.SOCK_DGRAM)", LOCKED),
        ("setuid", "import os\nos.setuid(0)\nos.setuid(1)", LOCKED),
        ("chroot", "import os\nos.chroot('.')", LOCKED),
        ("unshare", "import os\nos.unshare(os.CLONE_NEWUSER)", LOCKED),
        ("memfd", "import os\nos.memfd_create('x')", LOCKED),
        (
            "shared memory",
            "from multiprocessing import shared_memory as s\ns.SharedMemory('x', True, 99)",
            LOCKED,
        ),
        (
            "mount",
            "import ctypes\nassert ctypes.CDLL(None).mount(b'a', b'/', b'tmpfs', 0, 0) == 0",
            LOCKED,
        ),
        ("keyring", "import ctypes\nassert ctypes.CDLL(None).syscall(250, 0, -3, 1) >= 0", LOCKED),
        ("io_uring", "import ctypes\nassert ctypes.CDLL(None).syscall(425, 8, 0) >= 0", LOCKED),
        ("bpf", "import ctypes\nassert ctypes.CDLL(None).syscall(321, 0, 0, 0) >= 0", LOCKED),
        (
            "undo the filter",
            "import ctypes\nassert ctypes.CDLL(None).prctl(22, 0, 0, 0, 0) >= 0",
            LOCKED,
        ),
        (
            "become dumpable",
            "import ctypes\nassert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) >= 0",
            LOCKED,
        ),
        (
            "raise memory limit",
            "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
            LOCKED,
        ),
        ("nice", "import os\nos.nice(-10)", LOCKED),
        ("fifo", "import os\nos.mkfifo('x')", LOCKED),
        ("change mode", "import os\nos.chmod('.', 0)", LOCKED),
    )
    for case in everywhere(name, body, rungs=rungs)
]

MONITORING = [
    case
    for name, body in {
        "tool freed": "import sys\nfor k in range(6):\n    sys.monitoring.free_tool_id(k)",
        "callback replaced": (
            "import sys\n"
            "for k in range(6):\n"
            "    sys.monitoring.register_callback(k, sys.monitoring.events.INSTRUCTION, None)"
        ),
        "events on everything": (
            "import sys\n"
            "sys.monitoring.use_tool_id(4, 'x')\n"
            "sys.monitoring.set_events(4, sys.monitoring.events.LINE)"
        ),
    }.items()
    for case in everywhere(name, body, WRONG)
]

SOURCES = [
    Case(name=f"source {name}", source=source, tests=CALL, verdicts=verdicts)
    for name, source, verdicts in (
        ("empty", "", "runtime_error"),
        ("NUL", "x = 1\0", "compile_error"),
        ("surrogate", "x = '\ud800'", "compile_error"),
        ("parentheses", "(" * 10_000 + ")" * 10_000, "compile_error"),
        ("brackets", "x = " + "[" * 5_000 + "]" * 5_000, "compile_error"),
        ("unary", "x = " + "-" * 100_000 + "1", "compile_error timeout"),
        ("attributes", "x" + ".x" * 50_000, "compile_error runtime_error timeout"),
        ("additions", "x = " + "+".join(["1"] * 50_000), "compile_error runtime_error timeout"),
        (
            "blocks",
            "".join(" " * k + "if 1:\n" for k in range(150)) + " " * 150 + "x",
            "compile_error",
        ),
        ("long line", "x = '" + "a" * 2_000_000 + "'", "runtime_error"),
        ("long", "x = 1\n" * 300_000, "runtime_error timeout memory_exceeded compile_error"),
        ("folding", "x = ((1 << 100) ** 100) ** 100", "runtime_error timeout compile_error"),
        ("folding strings", "x = 'a' * 4000 * 4000 * 4000", "memory_exceeded"),
        ("indentation", "def f(x):\n\treturn 1\n        return 2\n", "compile_error"),
        ("await", "await f()", "compile_error"),
        ("return outside", "return 1", "compile_error"),
        ("star", "*a = 1", "compile_error"),
        ("future", "from __future__ import braces", "compile_error"),
        ("unfinished string", "x = '''", "compile_error"),
        ("odd characters", "x = 1 \u200b+ 1", "compile_error"),
    )
]

HOSTILE = [
    *EXITS, *FORGERIES, *LIES, *MEMORY_SEARCH, *KILLS, *BOMBS, *RETURNS, *LOOPS, *REACH,
    *MONITORING, *SOURCES,
]  # fmt: skip
