"""The first thing that a prepared process does: it hears its rung, gets ready, says so, serves.

Namespaces are entered before anything large is imported, as a process stays behind that keeps
them, with all that it has in memory.
"""

import importlib
import json
import os
from typing import NoReturn

from slot import namespaces
from slot.messages import READY, REFUSED
from slot.wire import frame, read_frame, write_all


def main(module: str, control: int) -> NoReturn:
    """Serve the ``control`` descriptor as ``module`` does until its other end closes."""
    rung = read_frame(control).decode()
    try:
        if rung == "full":
            namespaces.enter()
        server = importlib.import_module(f"slot.{module}").prepare(control, rung)
    except Exception as error:
        write_all(control, frame(REFUSED, f"{type(error).__name__}: {error}".encode()))
        os._exit(1)
    write_all(control, frame(READY, json.dumps(server.notes).encode()))
    server.serve()
    os._exit(0)
