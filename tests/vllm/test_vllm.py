"""Real vLLM: cold, with its cache left in place, and from the store on a wiped machine.

Times are printed (``pytest -s``). Only the soak asserts them: that nothing is built, and that the
answer is the same, does not depend on how busy the machine is.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from tests.e2e.machine import Machine
from tests.e2e.servers import PROJECT, wait_for

COMPILECACHE = (sys.executable, "-m", "pytest_compilecache")
ENGINE = re.compile(r"init engine .* took ([0-9.]+) s")
VARIABLES = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}

SOAK = os.environ.get("COMPILECACHE_TESTS") == "soak"
_ROUNDS = 5
_PATIENCE = 600.0


@dataclass(frozen=True)
class Served:
    """How one start of the server went."""

    answer: str
    engine_seconds: float
    answer_seconds: float
    built: tuple[str, ...]
    out: str


@dataclass
class Host:
    """A machine that serves a model, by one of the two ways."""

    machine: Machine
    model: Path
    way: str

    def __post_init__(self) -> None:
        self.machine.variables.update(VARIABLES)
        # Where the command itself lies, vLLM lies too.
        path = f"{self.machine.bin}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        self.machine.variables["PATH"] = path

    def wipe(self) -> None:
        """Start over with another home, temp directory and cache root."""
        self.machine.start_over()

    def serve(self) -> Served:
        """Start the server, ask it once, and end it."""
        self.machine.log.write_text("")
        port = _free_port()
        health = f"http://127.0.0.1:{port}/health"
        log = self.machine.root / "serve.log"
        started = time.monotonic()
        with self._running(port, health, log):
            wait_for(lambda: _answers(health) or _failed(log), "vLLM's health", _PATIENCE)
            assert not _failed(log), log.read_text()
            answer = self._ask(port)
            seconds = time.monotonic() - started
            wait_for(lambda: _settled(log.read_text()), "the save, or the word that none is due")
        out = log.read_text()
        built = tuple(self.machine.log.read_text().splitlines())
        served = Served(answer, float(ENGINE.search(out)[1]), seconds, built, out)  # type: ignore[index]
        print(  # noqa: T201  (for whoever measures)
            f"\n{self.way}: engine {served.engine_seconds:.1f} s, first answer after "
            f"{seconds:.1f} s, {len(built)} builds"
        )
        return served

    @contextmanager
    def _running(self, port: int, health: str, log: Path) -> Iterator[None]:
        vllm = (
            *("vllm", "serve", str(self.model), "--host", "127.0.0.1", "--port", str(port)),
            *("--max-model-len", "128", "--max-num-seqs", "4", "--dtype", "float32"),
        )
        commands = {
            "run": [(*COMPILECACHE, "run", "--ready-url", health, "--", *vllm)],
            "watch": [(*COMPILECACHE, "watch", "--ready-url", health), vllm],
        }
        with log.open("w") as file:
            processes = [
                subprocess.Popen(
                    command,
                    cwd=PROJECT,
                    env=self.machine.environ(),
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
                for command in commands[self.way]
            ]
            try:
                yield
            finally:
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                for process in processes:
                    process.wait(60)

    def _ask(self, port: int) -> str:
        body = {"model": str(self.model), "prompt": "hello", "max_tokens": 8, "temperature": 0}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            text: str = json.load(answer)["choices"][0]["text"]
        return text


@pytest.fixture
def expected(model: Path) -> str:
    """What the model answers without vLLM."""
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(model)
    words = tokenizer("hello", return_tensors="pt")
    with torch.no_grad():
        tokens = AutoModelForCausalLM.from_pretrained(model).generate(
            **words, max_new_tokens=8, do_sample=False
        )
    text: str = tokenizer.decode(tokens[0, words["input_ids"].shape[1] :])
    return text


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: vLLM's sockets lie in its temp directory."""
    with tempfile.TemporaryDirectory(prefix="vllm-") as name:
        yield Path(name)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["run", "watch"])
def test_vllm_starts_from_the_store_as_from_its_own_cache(
    way: str, model: Path, expected: str, folder: Path
):
    host = Host(Machine(folder / "machine"), model, way)
    host.machine.variables["B10FS_CACHE_DIR"] = str(folder / "store")
    cold = host.serve()
    assert len(cold.built) > 5, "vLLM compiled nothing here, so this test shows nothing"
    assert "compile cache: saved" in cold.out
    left_in_place = host.serve()
    host.wipe()
    restored = host.serve()
    assert "compile cache: loaded" in restored.out
    assert restored.built == left_in_place.built == ()
    assert [each.answer for each in (cold, left_in_place, restored)] == [expected] * 3


@pytest.mark.slow
@pytest.mark.skipif(not SOAK, reason="measures for half an hour; set COMPILECACHE_TESTS=soak")
@pytest.mark.parametrize("way", ["run", "watch"])
def test_restored_start_takes_at_most_a_tenth_longer_than_one_in_place(
    way: str, model: Path, folder: Path
):
    hosts = [Host(Machine(folder / name), model, way) for name in ("kept", "wiped")]
    for host in hosts:
        host.machine.variables["B10FS_CACHE_DIR"] = str(folder / "store")
        host.serve()
    engine: list[float] = []
    answer: list[float] = []
    for turn in range(_ROUNDS):
        hosts[1].wipe()
        # In turns, and each first as often: the machine does not stay as busy as it is.
        order = hosts if turn % 2 else hosts[::-1]
        served = {host.machine.root.name: host.serve() for host in order}
        kept, wiped = served["kept"], served["wiped"]
        engine.append(wiped.engine_seconds / kept.engine_seconds)
        answer.append(wiped.answer_seconds / kept.answer_seconds)
    print(f"\n{way}: restored / in place: engine {engine}, first answer {answer}")  # noqa: T201
    assert median(engine) <= 1.1
    assert median(answer) <= 1.1


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _failed(log: Path) -> bool:
    return "Traceback" in log.read_text()


def _settled(out: str) -> bool:
    return bool(
        re.search("compile cache: (saved|nothing new to save|nothing to load: what|loaded)", out)
    )


def _free_port() -> int:
    # Free a moment ago: vLLM takes no port of its own choice that it would tell us.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
