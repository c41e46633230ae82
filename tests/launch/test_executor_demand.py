"""The queue of the executor's demand, against cases that can be counted by hand."""

import importlib.util
import sys
from argparse import Namespace

import numpy as np
import pytest
from launch_scripts import ROOT


@pytest.fixture(scope="module")
def demand():
    file = ROOT / "launch" / "executor_demand.py"
    spec = importlib.util.spec_from_file_location("executor_demand", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def load(demand, arrivals, services):
    return demand.Load(arrivals=np.array(arrivals), services=np.array(services))


def test_programs_wait_in_the_order_in_which_they_come(demand):
    arrivals, services = np.array([0.0, 0.0, 0.0, 10.0]), np.array([3.0, 1.0, 2.0, 1.0])
    assert demand.waits(arrivals, services, 1).tolist() == [0.0, 3.0, 4.0, 0.0]
    assert demand.waits(arrivals, services, 2).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert demand.waits(arrivals, services, 3).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_results_are_late_by_what_the_queue_adds_and_not_by_the_last_program(demand):
    burst = load(demand, [5.0] * 6, [2.0] * 6)
    assert [burst.late(cores) for cores in (1, 2, 3, 6)] == [10.0, 4.0, 2.0, 0.0]


def test_the_fewest_cores_that_hide_a_burst(demand):
    burst = load(demand, [100.0] * 64, [1.0] * 64)
    # 64 programs of a second on c cores are late by ceil(64 / c) - 1 seconds.
    assert [demand.cores_to_hide([burst], share) for share in (0.0, 0.01, 0.03, 0.63)] == [
        64,
        32,
        16,
        1,
    ]


def test_the_host_with_the_longest_burst_decides(demand):
    alone, crowd = load(demand, [10.0], [1.0]), load(demand, [10.0] * 8, [1.0] * 8)
    assert demand.cores_to_hide([alone, crowd], 0.0) == 8


def test_rows_come_at_the_ends_of_chunks_from_as_many_slots_as_there_are(demand):
    engine = demand.Engine(
        rows=6, slots=2, step_s=0.5, chunk_tokens=4, mean_tokens=1e9, max_tokens=10
    )
    # Ten tokens are three chunks of four steps: six seconds, two rows at a time.
    assert engine.arrivals(np.random.default_rng(0)).tolist() == [6, 6, 12, 12, 18, 18]


def test_a_slot_that_is_free_takes_the_next_row(demand):
    engine = demand.Engine(
        rows=4000, slots=100, step_s=1.0, chunk_tokens=1, mean_tokens=50, max_tokens=10**6
    )
    arrivals = engine.arrivals(np.random.default_rng(0))
    middle = np.searchsorted(arrivals, [200, 1200])
    # Two rows a second leave 100 slots in which they stay for 50 seconds.
    assert np.diff(middle)[0] == pytest.approx(2000, rel=0.1)


def test_the_drawn_programs_cost_what_was_measured(demand):
    programs = demand.Programs(cpu_s=0.006, timeouts=0.5, timeout_s=0.5)
    drawn = programs.draw(200_000, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(programs.mean_s, rel=0.01)
    assert (drawn == 0.5).mean() == pytest.approx(0.5, rel=0.05)
    short = drawn[drawn < 0.5]
    assert np.quantile(short, 0.5) == pytest.approx(0.006, rel=0.05)
    assert short.min() > 0


def test_more_rollouts_need_more_cores_and_never_fewer_than_are_busy(demand):
    programs = demand.Programs(cpu_s=0.00673, timeouts=0.0, timeout_s=0.5)
    cores = []
    for step_s in (0.01, 0.001, 0.0005):
        engine = demand.Engine(
            rows=2048, slots=512, step_s=step_s, chunk_tokens=16, mean_tokens=58, max_tokens=512
        )
        needed = demand.demand(engine, programs, 2, 0.01)
        assert needed.cores >= needed.rollouts_per_s * programs.mean_s
        cores.append(needed.cores)
    assert cores[0] < cores[1] < cores[2]


def test_the_table_has_a_figure_under_every_head(demand, monkeypatch):
    engine = demand.Engine(
        rows=64, slots=32, step_s=0.001, chunk_tokens=16, mean_tokens=50, max_tokens=512
    )
    monkeypatch.setattr(demand, "engine_of", lambda *_: (engine, 8, 2))
    options = Namespace(
        config=ROOT / "configs" / "quickstart.yaml",
        topology=["v5e:2x4"],
        model=None,
        rows_per_slot=4,
        mean_tokens=50.0,
        share=0.01,
        cpu_ms=5.0,
        timeouts=0.5,
        timeout_s=1.0,
    )
    head, line, row = (
        [cell.strip() for cell in text.split("|")[1:-1]] for text in demand.table(options)
    )
    assert len(head) == len(line) == len(row)
    figures = dict(zip(head, row, strict=True))
    assert (figures["chips"], figures["hosts"], figures["ms a step"]) == ("8", "2", "1.00")
    # 32 slots whose rows stay for 50 ms, 5 ms of CPU time each.
    assert figures["while all slots are full"] == "3.2"
    # Every other program takes a second, and generation a fraction of one: a core for each.
    assert int(figures["cores, all"]) == 2 * int(figures["with timeouts: cores a host"])
    assert 16 < int(figures["with timeouts: cores a host"]) <= 64
