from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_compilecache.torchhooks import cache_keys
from pytest_compilecache.torchhooks.cache_keys import IsaPart, IsaProbe

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

        monkeypatch.setattr(cache_keys, "probe_isa", ask)
        monkeypatch.setattr(cache_keys, "picked_isa", lambda: picked[0])
        monkeypatch.setattr(cache_keys, "forget_isa", lambda: calls.append("forget"))
        return calls

    return answer


class Part(IsaPart):
    """It keeps what it reports."""

    def __init__(self, record: Path, *, torn: bool = False) -> None:
        self.said: list[str] = []
        super().__init__(self.said.append, lambda: torn, record)


def part(tmp_path: Path, *, torn: bool = False) -> Part:
    return Part(tmp_path / "isa.json", torn=torn)


def test_picked_instructions_are_in_the_part_and_probed_once(probe, tmp_path: Path):
    calls = probe(GOOD)
    ours = part(tmp_path)
    assert ours() == ours() == "+isa=avx512"
    assert calls == ["probe"]
    assert ours.said == []


def test_pick_that_a_test_lowers_meanwhile_changes_the_part(
    probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = probe(GOOD)
    ours = part(tmp_path)
    assert ours() == "+isa=avx512"
    monkeypatch.setattr(cache_keys, "picked_isa", lambda: "avx2")
    assert ours() == "+isa=avx2"
    assert calls == ["probe"]


def test_torn_probes_are_healed_and_probed_again_with_an_event(probe, tmp_path: Path):
    calls = probe(LOWERED, GOOD)
    ours = part(tmp_path, torn=True)
    assert ours() == "+isa=avx512"
    assert calls == ["probe", "forget", "probe"]
    (said,) = ours.said
    assert "avx512 were torn and are healed" in said


def test_lowered_pick_is_in_the_part_and_reported_where_it_worked_before(probe, tmp_path: Path):
    probe(GOOD, LOWERED)
    part(tmp_path)()
    ours = part(tmp_path)
    assert ours() == "+isa=avx2"
    (said,) = ours.said
    assert "avx512 worked here before and does not now; avx2 is picked" in said


def test_compiler_that_never_could_is_no_news(probe, tmp_path: Path):
    probe(LOWERED)
    ours = part(tmp_path)
    assert ours() == "+isa=avx2"
    assert ours.said == []
    assert json.loads((tmp_path / "isa.json").read_text()) == ["avx2"]


def test_torch_that_cannot_pick_has_no_part(probe, tmp_path: Path):
    probe(None)
    assert part(tmp_path)() is None


def test_record_that_cannot_be_written_or_read_costs_only_a_comparison(probe, tmp_path: Path):
    probe(GOOD)
    assert Part(tmp_path / "no" / "isa.json")() == "+isa=avx512"
    (tmp_path / "isa.json").write_text("{")
    probe(LOWERED)
    assert part(tmp_path)() == "+isa=avx2"
