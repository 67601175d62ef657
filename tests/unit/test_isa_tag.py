from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_compilecache.compiling.facts import IsaProbe
from pytest_compilecache.compiling.isa import IsaTag

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import EventSink

GOOD = IsaProbe("avx512", worked=("avx512", "avx2"), failed=())
LOWERED = IsaProbe("avx2", worked=("avx2",), failed=("avx512",))


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def answer(*probes: IsaProbe | None) -> list[str]:
        answers, calls, picked = list(probes), [], [None]

        def ask() -> IsaProbe | None:
            calls.append("probe")
            answer = answers.pop(0)
            picked[0] = answer.picked if answer else None
            return answer

        monkeypatch.setattr(private, "probe_isa", ask)
        monkeypatch.setattr(private, "picked_isa", lambda: picked[0])
        monkeypatch.setattr(private, "forget_isa", lambda: calls.append("forget"))
        return calls

    return answer


def tag(tmp_path: Path, *, torn: bool = False) -> IsaTag:
    return IsaTag(EventSink(), lambda: torn, tmp_path / "isa.json")


def test_picked_instructions_are_in_the_tag_and_probed_once(probe, tmp_path: Path):
    calls = probe(GOOD)
    ours = tag(tmp_path)
    assert ours() == ours() == "+isa=avx512"
    assert calls == ["probe"]
    assert ours.sink.drain() == ()


def test_pick_that_a_test_lowers_meanwhile_changes_the_tag(
    probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = probe(GOOD)
    ours = tag(tmp_path)
    assert ours() == "+isa=avx512"
    monkeypatch.setattr(private, "picked_isa", lambda: "avx2")
    assert ours() == "+isa=avx2"
    assert calls == ["probe"]


def test_torn_probes_are_healed_and_probed_again_with_an_event(probe, tmp_path: Path):
    calls = probe(LOWERED, GOOD)
    ours = tag(tmp_path, torn=True)
    assert ours() == "+isa=avx512"
    assert calls == ["probe", "forget", "probe"]
    (event,) = ours.sink.drain()
    assert event.kind == "isa"
    assert "avx512 were torn and are healed" in event.reason


def test_lowered_pick_is_in_the_tag_and_reported_where_it_worked_before(probe, tmp_path: Path):
    probe(GOOD, LOWERED)
    tag(tmp_path)()
    ours = tag(tmp_path)
    assert ours() == "+isa=avx2"
    (event,) = ours.sink.drain()
    assert "avx512 worked here before and does not now; avx2 is picked" in event.reason


def test_compiler_that_never_could_is_no_news(probe, tmp_path: Path):
    probe(LOWERED)
    ours = tag(tmp_path)
    assert ours() == "+isa=avx2"
    assert ours.sink.drain() == ()
    assert json.loads((tmp_path / "isa.json").read_text()) == ["avx2"]


def test_torch_that_tells_nothing_shares_with_nobody_who_tells(probe, tmp_path: Path):
    probe(None)
    assert tag(tmp_path)() == "+isa=unknown"


def test_record_that_cannot_be_written_or_read_costs_only_a_comparison(probe, tmp_path: Path):
    probe(GOOD)
    assert IsaTag(EventSink(), lambda: False, tmp_path / "no" / "isa.json")() == "+isa=avx512"
    (tmp_path / "isa.json").write_text("{")
    probe(LOWERED)
    assert tag(tmp_path)() == "+isa=avx2"
