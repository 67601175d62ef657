"""Torch's counters and metrics become events; a counter that lies is not believed alone."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict, deque
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_compilecache.compiling.recorder import Recorder
from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks import metrics, names


class FakeTorch:
    """The private names that the recorder reads, in modules of torch's names."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter[str]] = defaultdict(Counter)
        self.metrics: list[Any] = []

    def count(self, group: str, name: str, number: int = 1) -> None:
        self.counters[group][name] += number

    def compile(self, **values: Any) -> None:
        self.metrics.append(SimpleNamespace(**values))


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> FakeTorch:
    fake = FakeTorch()
    utils = SimpleNamespace(counters=fake.counters, _compilation_metrics=fake.metrics)
    monkeypatch.setitem(sys.modules, names.DYNAMO_UTILS, utils)
    return fake


def events(recorder: Recorder) -> list[tuple[str, int, str]]:
    record = recorder.drain()
    return [(one.kind, one.count, one.reason) for one in record.events] if record else []


def test_nothing_compiled_is_no_record(torch: FakeTorch):
    recorder = Recorder()
    assert recorder.drain() is None
    torch.count("stats", "calls_captured")
    assert recorder.drain() is None


def test_each_event_is_told_once(torch: FakeTorch):
    recorder = Recorder()
    torch.count("inductor", "fxgraph_cache_hit", 2)
    torch.count("inductor", "fxgraph_cache_miss")
    assert events(recorder) == [("hit", 2, ""), ("miss", 1, "")]
    assert events(recorder) == []


def test_test_that_clears_the_counters_hides_nothing(torch: FakeTorch):
    recorder = Recorder()
    torch.count("inductor", "fxgraph_cache_miss", 5)
    recorder.drain()
    torch.counters.clear()
    torch.count("inductor", "fxgraph_cache_hit")
    torch.compile(inductor_fx_local_cache_hit_count=3, co_name="f", duration_us=10)
    assert events(recorder) == [("hit", 3, "")]


def test_bypass_has_torchs_reason(torch: FakeTorch):
    recorder = Recorder()
    recorder.bypasses += ["Can't cache cond", "Can't cache cond"]
    torch.count("aot_autograd", "autograd_cache_bypass", 2)
    assert events(recorder) == [("bypass", 2, "Can't cache cond")]


def test_reason_of_a_bypass_is_one_line(monkeypatch: pytest.MonkeyPatch):
    class Bypass(Exception):  # noqa: N818  (as torch names it)
        pass

    monkeypatch.setitem(sys.modules, "torchs", SimpleNamespace(Bypass=Bypass))
    told: list[str] = []
    patches = Patches()
    metrics.note_bypasses(patches, "torchs", "Bypass", told.append)
    Bypass("cannot cache cond.\n  Module: ops\n")
    patches.undo()
    Bypass("unheard")
    assert told == ["cannot cache cond. Module: ops"]


def test_forward_of_a_trainable_model_alone_is_warm(torch: FakeTorch):
    recorder = Recorder()
    torch.count("aot_autograd", "autograd_cache_miss")
    torch.count("inductor", "fxgraph_cache_hit")
    record = recorder.drain()
    assert record is not None
    assert record.warm
    assert "AOTAutograd ran again" in record.events[0].reason


def test_recompile_names_function_place_and_reason(torch: FakeTorch):
    recorder = Recorder()
    torch.compile(
        co_name="f", co_filename="a.py", co_firstlineno=3, duration_us=2_000_000,
        recompile_reason="0/0: size\n  mismatch", distributed_ephemeral_timeout_us=500_000,
    )  # fmt: skip
    record = recorder.drain()
    assert record is not None
    (event,) = record.events
    assert (event.kind, event.function, event.reason) == (
        "recompile", "f (a.py:3)", "size mismatch",
    )  # fmt: skip
    assert (record.seconds, record.seconds_saved, record.graphs) == (2.0, 0.5, 1)


def test_graph_breaks_are_counted_by_reason(torch: FakeTorch):
    recorder = Recorder()
    torch.count("graph_break", "call to print")
    recorder.drain()
    torch.count("graph_break", "call to print", 2)
    torch.count("graph_break", "data-dependent\nbranch")
    assert events(recorder) == [
        ("graph_break", 2, "call to print"),
        ("graph_break", 1, "data-dependent branch"),
    ]


def test_torch_without_any_known_name_loses_numbers_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, names.DYNAMO_UTILS, SimpleNamespace())
    recorder = Recorder()
    recorder.read_metrics()
    assert recorder.drain() is None


def test_more_frames_than_torch_remembers_are_all_measured(monkeypatch: pytest.MonkeyPatch):
    kept: deque[Any] = deque(maxlen=2)
    utils = SimpleNamespace(counters=defaultdict(Counter), _compilation_metrics=kept)
    monkeypatch.setitem(sys.modules, names.DYNAMO_UTILS, utils)
    recorder = Recorder()
    for number in range(5):
        kept.append(SimpleNamespace(co_name=f"f{number}", is_forward=True))
        recorder.read_metrics()
    record = recorder.drain()
    assert record is not None
    assert record.graphs == 5
    assert recorder.drain() is None
