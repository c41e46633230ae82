"""Every hostile program gets its verdict, on each rung, and the slots stay as they were."""

import pytest
from executor_corpus import ALL, HIDDEN, HOSTILE
from stepcoder_executor import IoTests, Request

RUNGS = [rung if rung in HIDDEN else pytest.param(rung, marks=pytest.mark.slow) for rung in ALL]


@pytest.mark.parametrize("rung", RUNGS)
def test_corpus(rung, only_rung):
    cases = {case.name: case for case in HOSTILE if rung in case.rungs}
    with only_rung(rung) as client:
        results = {result.id: result for result in client.run(c.request() for c in cases.values())}
        wrong = {
            name: (results[name].verdict.value, [t.detail for t in results[name].tests][-1:])
            for name, case in cases.items()
            if results[name].verdict not in case.verdicts.split()
        }
        assert not wrong
        assert client.metrics()["slot_restarts"] == 0
        good = Request(
            id="after",
            source="def f(x): return x + 1",
            tests=IoTests(fn_name="f", inputs=((1,),), outputs=(2,)),
        )
        assert all(result.verdict == "passed" for result in client.run([good] * 6))


def test_corpus_is_large():
    assert len(HOSTILE) >= 200
    assert len({case.name for case in HOSTILE}) == len(HOSTILE)
