"""``compilecache run``: what the command sees, and what remains when it or the wrapper ends."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.e2e.servers import (
    PROJECT,
    Gate,
    Replica,
    alive,
    numbers_in,
    packs_in,
    wait_for,
)

SERVE = "compile serve; exec sleep 600"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def replica(tmp_path: Path, store: Path) -> Iterator[Replica]:
    with Replica(tmp_path / "first", store) as replica:
        yield replica


@pytest.fixture
def next_replica(tmp_path: Path, store: Path) -> Iterator[Replica]:
    with Replica(tmp_path / "next", store) as replica:
        yield replica


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate().answering() as gate:
        yield gate


# --- what it is for ------------------------------------------------------------


def test_what_a_command_compiled_is_there_for_the_next_on_a_new_machine(
    replica: Replica, next_replica: Replica
):
    first = replica.run("has kernel && exit 9; compile kernel")
    assert (first.code, first.statuses) == (0, {"load": "does_not_exist", "exit": "success"})
    second = next_replica.run("has kernel")
    assert (second.code, second.statuses) == (0, {"load": "success", "exit": "skipped"})


def test_what_vllm_compiled_travels_and_what_belongs_to_the_machine_does_not(
    replica: Replica, next_replica: Replica
):
    replica.run("""
        cd $VLLM_CACHE_ROOT && mkdir -p torch_compile_cache/abc/rank_0_0 modelinfos assets
        echo model > torch_compile_cache/abc/rank_0_0/model
        echo '{}' > modelinfos/llama.json
        echo machine | tee assets/picture > gpu_p2p_access_cache_for_0.json
    """)
    second = next_replica.run("""
        cd $VLLM_CACHE_ROOT && cat torch_compile_cache/abc/rank_0_0/model modelinfos/llama.json
        ls
    """)
    listed = second.out.splitlines()[:-1]
    assert listed == [
        "model",
        "{}",
        "compilecache-environment",
        "modelinfos",
        "torch_compile_cache",
    ]


def test_folders_that_the_user_named_are_used(replica: Replica, tmp_path: Path):
    named = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "VLLM_CACHE_ROOT": "vllm"}
    for variable, name in named.items():
        (tmp_path / name).mkdir(mode=0o700)
        replica.machine.variables[variable] = str(tmp_path / name)
    replica.machine.variables["TORCHINDUCTOR_CPP_DYNAMIC_THREADS"] = "0"
    said = replica.run(
        "compile x; echo $TORCHINDUCTOR_CACHE_DIR $VLLM_CACHE_ROOT "
        "$TORCHINDUCTOR_CPP_DYNAMIC_THREADS"
    )
    assert said.out.splitlines()[0].split() == [
        *map(str, map(tmp_path.__truediv__, named.values())),
        "0",
    ]
    assert said.statuses["exit"] == "success"


def test_what_lies_in_a_folder_of_unknown_origin_is_not_saved(
    replica: Replica, tmp_path: Path, store: Path
):
    made = tmp_path / "vllm" / "torch_compile_cache" / "model"
    made.parent.mkdir(parents=True, mode=0o700)
    made.write_text("for which processor?")
    replica.machine.variables["VLLM_CACHE_ROOT"] = str(tmp_path / "vllm")
    said = replica.run("true")
    assert f"neither loaded nor saved: {tmp_path / 'vllm'}: it holds artifacts" in said.err
    assert packs_in(store) == []
    assert made.read_text() == "for which processor?"


def test_protected_processes_and_commands_find_nothing_of_each_other(
    replica: Replica, next_replica: Replica, tmp_path: Path
):
    replica.run("compile ours")
    protected = """
        import os
        from pathlib import Path
        from pytest_compilecache import load_compile_cache, save_compile_cache
        print(load_compile_cache().name, end=" ")
        kernel = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], "ab", "cours.py")
        print(kernel.exists(), end=" ")
        kernel.parent.mkdir()
        kernel.write_text("x = 1")
        print(save_compile_cache().name)
    """
    for machine in (replica.machine, next_replica.machine):
        machine.variables.pop("TORCHINDUCTOR_CACHE_DIR", None)
    said = replica.machine.python(protected, cwd=PROJECT)
    assert said.out.split() == ["DOES_NOT_EXIST", "False", "SUCCESS"]
    there = next_replica.run("cat $TORCHINDUCTOR_CACHE_DIR/ab/cours.py")
    assert there.out.splitlines()[0] == "kernel = 'ours'"


def test_command_that_loads_by_itself_is_protected_as_ever(replica: Replica):
    """It does not take our variables for its user's."""
    program = (
        "import os; print(os.environ['TORCHINDUCTOR_CACHE_DIR'])\n"
        "from pytest_compilecache import load_compile_cache\n"
        "print(load_compile_cache().name)\n"
        "print(os.environ['TORCHINDUCTOR_CACHE_DIR'])\n"
    )
    ended = replica.start("run", "--json", "--", sys.executable, "-c", program).end()
    ours, loaded, its_own = ended.out.splitlines()[:3]
    assert loaded == "DOES_NOT_EXIST"
    assert Path(ours).name == Path(its_own).name == "inductor"
    assert ours != its_own


def test_entries_of_a_workspace_with_a_torn_probe_are_dropped_and_not_saved(
    replica: Replica, store: Path
):
    """Torch picks lower instructions then, and its keys do not say so."""
    torn = """
        compile lowered; cd $TORCHINDUCTOR_CACHE_DIR/ab
        echo 'void __avx_chk_kernel() {}' > cprobe.cpp; printf 'no library' > cprobe.so
    """
    first = replica.run(torn)
    assert first.statuses["exit"] == "error"
    assert "may be for lower ones" in first.err
    assert packs_in(store) == []
    again = replica.run("has lowered && exit 9; compile lowered")
    assert (again.code, again.statuses["exit"]) == (0, "success")


def test_torn_probe_that_a_killed_process_left_is_healed_before_the_start(replica: Replica):
    place = replica.run("pwd; cd $TORCHINDUCTOR_CACHE_DIR; pwd; compile lowered").out.splitlines()[
        1
    ]
    probe = Path(place, "ab", "cprobe.so")
    probe.with_suffix(".cpp").write_text("void __avx_chk_kernel() {}")
    probe.write_bytes(b"")
    again = replica.run("has lowered && test ! -e $TORCHINDUCTOR_CACHE_DIR/ab/cprobe.so")
    assert again.statuses["load"] == "success", "the entry came from the store, not from here"
    assert again.code == 0
    assert "its entries are dropped" in again.err


# --- when it saves --------------------------------------------------------------


def test_saves_when_the_url_answers_and_again_at_its_end(
    replica: Replica, gate: Gate, store: Path, tmp_path: Path
):
    ready = tmp_path / "ready"
    url = gate.url(ready)
    server = replica.start_server(
        f"trap 'compile late; exit 0' TERM; compile early; touch {ready}; "
        "while :; do sleep 0.1; done",
        "--ready-url",
        url,
    )
    wait_for(lambda: packs_in(store), "the first save")
    server.send(signal.SIGTERM)
    ended = server.end()
    assert ended.facts["ready"]
    assert ended.statuses == {"load": "does_not_exist", "ready": "success", "exit": "success"}
    assert len(packs_in(store)) == 2


def test_entries_that_every_warm_start_makes_anew_do_not_pile_up(
    replica: Replica, next_replica: Replica, store: Path
):
    """As vLLM's do; with a kernel beside them they are news."""
    anew = "cd $TORCHINDUCTOR_CACHE_DIR && mkdir -p aotautograd/a$1 && echo $1 > aotautograd/a$1/e;"
    replica.run(f"compile x; set -- 1; {anew}")
    assert next_replica.run(f"set -- 2; {anew}").statuses["exit"] == "skipped"
    assert len(packs_in(store)) == 1
    assert next_replica.run(f"set -- 3; {anew} compile y").statuses["exit"] == "success"


def test_an_answer_that_leads_elsewhere_does_not_make_it_ready(replica: Replica, gate: Gate):
    ended = replica.run("sleep 2", "--ready-url", gate.url("/moved"))
    assert gate.asked.is_set()
    assert not ended.facts["ready"]


def test_saves_when_its_caches_are_quiet(replica: Replica, store: Path):
    server = replica.start_server(SERVE, "--quiet-seconds", "0.3")
    wait_for(lambda: packs_in(store), "the save")
    server.send(signal.SIGTERM)
    assert server.end().facts["ready"]


def test_never_ready_is_said_and_it_is_saved_at_its_end(
    replica: Replica, gate: Gate, tmp_path: Path
):
    server = replica.start_server(
        f"trap 'exit 0' TERM; compile x; touch {tmp_path / 'up'}; while :; do sleep 0.1; done",
        "--ready-url",
        gate.url("/never"),
        "--ready-timeout",
        "0.2",
    )
    wait_for((tmp_path / "up").exists, "its start")
    assert server.process.stderr is not None
    line = ""
    while "not ready after 0.2 s" not in line:
        line = server.process.stderr.readline()
        assert line, "it ended without a word"
    server.send(signal.SIGTERM)
    ended = server.end()
    assert (ended.code, ended.facts["ready"], ended.statuses["exit"]) == (0, False, "success")


@pytest.mark.parametrize(
    ("options", "variables"),
    [(("--save", "never"), {}), ((), {"CI": "true"})],
    ids=["never", "a build that may be a stranger's"],
)
def test_nothing_is_saved_where_it_must_not(
    options: tuple[str, ...], variables: dict[str, str], replica: Replica, store: Path
):
    replica.machine.variables.update(variables)
    ended = replica.run("compile x", *options)
    assert ended.code == 0
    assert ended.facts["unsaved"]
    assert ended.facts["saves"] == {}
    assert not store.exists()


# --- how it ends ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("kill -KILL $$", 128 + signal.SIGKILL),
    ],
)
def test_exit_code_is_that_of_the_command(script: str, code: int, replica: Replica):
    ended = replica.run(script)
    assert ended.code == ended.facts["exit_code"] == code


def test_command_that_cannot_be_started_ends_as_in_a_shell(replica: Replica, tmp_path: Path):
    (tmp_path / "text").write_text("no program")
    for word, code in ((tmp_path / "absent", 127), (tmp_path / "text", 126)):
        ended = replica.start("run", "--", str(word)).end()
        assert ended.code == code
        assert str(word) in ended.err


def test_command_has_the_files_that_run_was_started_with(replica: Replica, tmp_path: Path):
    """As ``<(…)`` of a shell gives them, and systemd with its sockets."""
    text = tmp_path / "text"
    text.write_text("handed over")
    with text.open() as file:
        number = file.fileno()
        program = f"import os; print(os.read({number}, 99), os.listdir('/proc/self/fd'), sep='\\n')"
        words = ("run", "--", sys.executable, "-c", program)
        content, files = replica.start(*words, pass_fds=(number,)).end().out.splitlines()
    assert content == "b'handed over'"
    (extra,) = {int(each) for each in ast.literal_eval(files)} - {0, 1, 2, number}
    assert extra == 3, "nothing of ours is among them, but the folder that is listed"


def test_sockets_of_systemd_are_for_the_command(replica: Replica):
    # They are for the process that the variable names: run, until it starts another.
    script = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], "
        "[sys.argv[1], '-m', 'pytest_compilecache', 'run', '--', 'sh', '-c', "
        "'test \"$LISTEN_PID\" = $$'])"
    )
    assert replica.start_python("-c", script, sys.executable).end().code == 0
    replica.machine.variables["LISTEN_PID"] = "1"  # somebody else's stay that
    assert replica.run('test "$LISTEN_PID" = 1').code == 0


@pytest.mark.parametrize("place", ["/dev/full", "a closed pipe"])
def test_exit_code_is_the_commands_when_nobody_hears_how_it_went(place: str, replica: Replica):
    if place == "/dev/full":
        output = os.open(place, os.O_WRONLY)
    else:
        reader, output = os.pipe()
        os.close(reader)
    with contextlib.closing(os.fdopen(output, "w")) as stdout:
        ended = replica.start("run", "--json", "--", "sh", "-c", "exit 7", stdout=stdout).end()
    assert ended.code == 7, ended.err
    assert "Traceback" not in ended.err


def test_wrong_options_end_with_2_before_anything_is_started(replica: Replica, tmp_path: Path):
    started = tmp_path / "started"
    wrong = (
        ("--ready-url", "ftp://host/x"),
        ("--ready-url", "http://[::1/health"),
        ("--ready-url", "http://host:99999/health"),
        ("--ready-url", "http://host:http/health"),
        ("--ready-url", "http://host/", "--quiet-seconds", "3"),
        ("--ready-ulr", "http://host/health"),  # mistyped, and no command
        ("--load-timeout", "-1"),
        ("--load-timeout", "nan"),
        ("--save-timeout", "soon"),
    )
    for options in wrong:
        ended = replica.start("run", *options, "--", "touch", str(started)).end()
        assert ended.code == 2, ended.err
        assert options[0] in ended.err or "not both" in ended.err
    assert not started.exists()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH]
)
def test_signals_are_passed_on(number: signal.Signals, replica: Replica, tmp_path: Path):
    up = tmp_path / "up"
    name = number.name.removeprefix("SIG")
    server = replica.start_server(
        f"trap 'exit 42' {name}; touch {up}; while :; do sleep 0.05; done"
    )
    wait_for(up.exists, "its start")
    server.send(number)
    assert server.end().code == 42


HANDLES_IT = """
import pathlib, signal, sys
signal.signal(signal.{name}, lambda *_: sys.exit(42))
pathlib.Path({up!r}).touch()
while True: signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_signal_that_was_ignored_at_the_start_is_passed_on_and_ends_nothing_of_ours(
    number: signal.Signals, replica: Replica, tmp_path: Path
):
    """As under nohup, or in the background of a script; the command may want it all the same."""
    name, up = number.name, tmp_path / "up"
    ignores = (
        f"import os, signal, sys; signal.signal(signal.{name}, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, '-m', 'pytest_compilecache', *sys.argv[1:]])"
    )
    program = HANDLES_IT.format(name=name, up=str(up))
    command = (sys.executable, "-c", program)
    server = replica.start_python("-c", ignores, "run", "--json", "--", *command)
    wait_for(up.exists, "its start")
    server.send(number)
    assert server.end().code == 42

    stubborn = ("sh", "-c", f"touch {up}; exec sleep 600")  # it inherits that, and goes on
    up.unlink()
    words = ("run", "--json", "--kill-after", "0.1", "--", *stubborn)
    server = replica.start_python("-c", ignores, *words)
    wait_for(up.exists, "its start")
    server.send(number)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(1)
    server.send(signal.SIGTERM)
    assert server.end().code == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_signal_that_was_ignored_at_the_start_does_not_end_a_load(
    number: signal.Signals, held_up: Replica
):
    ignores = (
        f"import os, signal, sys; signal.signal(signal.{number.name}, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, '-m', 'pytest_compilecache', *sys.argv[1:]])"
    )
    words = ("run", "--json", "--load-timeout", "1", "--", "sh", "-c", "exit 7")
    server = held_up.start_python("-c", ignores, *words)
    threads = Path(f"/proc/{server.process.pid}/task")
    wait_for(lambda: len(list(threads.iterdir())) > 1, "the load")
    server.send(number)
    assert server.end().code == 7


def test_control_c_reaches_the_command_once(replica: Replica, tmp_path: Path):
    """A terminal sends it to the whole group; passed on as well, it would come twice."""
    up, heard = tmp_path / "up", tmp_path / "heard"
    program = (
        "import pathlib, signal, sys\n"
        f"up, heard = pathlib.Path({str(up)!r}), open({str(heard)!r}, 'ab', buffering=0)\n"
        "signal.signal(signal.SIGINT, lambda *_: heard.write(b'x'))\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))\n"
        "up.touch()\n"
        "while True: signal.pause()\n"
    )
    words = [
        sys.executable,
        "-m",
        "pytest_compilecache",
        "run",
        "--",
        sys.executable,
        "-c",
        program,
    ]
    environ = replica.machine.environ()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(PROJECT)
        os.execve(words[0], words, environ)
    try:
        wait_for(up.exists, "its start")
        # Stopped, it hears of it when all others have: two at the same time count as one.
        os.kill(pid, signal.SIGSTOP)
        os.write(terminal, b"\x03")
        wait_for(lambda: heard.stat().st_size, "Ctrl-C")
        os.kill(pid, signal.SIGUSR1)  # which is passed on after whatever came with Ctrl-C
        os.kill(pid, signal.SIGCONT)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
        assert heard.read_text() == "x"
    finally:
        os.close(terminal)


def test_what_was_compiled_before_a_failure_is_saved(replica: Replica, store: Path):
    assert replica.run("compile x; exit 1").statuses["exit"] == "success"
    assert len(packs_in(store)) == 1


def test_what_machine_code_dies_of_is_not_handed_on(replica: Replica, store: Path):
    ended = replica.run("compile x; kill -SEGV $$")
    assert ended.code == 128 + signal.SIGSEGV
    assert ended.facts["saves"] == {}
    assert "SIGSEGV may come from compiled code" in ended.err
    assert packs_in(store) == []


def test_what_it_left_in_the_background_ends_with_it(replica: Replica, tmp_path: Path):
    pids = tmp_path / "pids"
    ended = replica.run(f"""
        sleep 600 & echo $! >> {pids}
        setsid sh -c 'echo $$ >> {pids}; exec sleep 600' &
        while test $(wc -l < {pids}) -lt 2; do sleep 0.05; done
        exit 5
    """)
    assert ended.code == 5
    assert alive(numbers_in(pids, 2)) == []


def test_command_that_ignores_sigterm_is_waited_for_unless_a_time_was_given(
    replica: Replica, tmp_path: Path
):
    pids = tmp_path / "pids"
    stubborn = f"trap '' TERM; echo $$ >> {pids}; while :; do sleep 0.05; done"
    patient = replica.start_server(stubborn)
    (first,) = numbers_in(pids, 1)
    patient.send(signal.SIGTERM)
    patient.send(signal.SIGUSR1)  # which it takes after the other one
    assert patient.end().code == 128 + signal.SIGUSR1
    assert alive([first]) == []
    killed = replica.start_server(stubborn, "--kill-after", "0.2")
    second = numbers_in(pids, 2)[-1]
    killed.send(signal.SIGTERM)
    assert killed.end().code == 128 + signal.SIGKILL
    assert alive([second]) == []


@pytest.mark.parametrize("stubborn", [False, True], ids=["willing", "ignores SIGTERM"])
def test_nothing_outlives_a_wrapper_that_is_killed(
    stubborn: bool, replica: Replica, tmp_path: Path
):
    pids = tmp_path / "pids"
    ignore = "trap '' TERM;" if stubborn else ""
    server = replica.start_server(
        f"""
        {ignore} echo $$ >> {pids}
        sleep 600 & echo $! >> {pids}
        setsid sh -c '{ignore} echo $$ >> {pids}; while :; do sleep 0.05; done' &
        wait
        """,
        "--kill-after",
        "1",
    )
    started = numbers_in(pids, 3)
    assert alive(started) == started
    server.send(signal.SIGKILL)
    wait_for(lambda: not alive(started), "the end of everything that it started")
    server.end()


def test_nothing_outlives_a_guardian_that_is_killed(replica: Replica, tmp_path: Path):
    pids = tmp_path / "pids"
    server = replica.start_server(
        f"echo $$ $PPID > {pids}; setsid sleep 600 & echo $! >> {pids}; wait"
    )
    command, guardian, background = numbers_in(pids, 3)
    os.kill(guardian, signal.SIGKILL)
    ended = server.end()
    assert ended.code == 128 + signal.SIGKILL
    assert "its guardian was killed" in ended.err
    assert alive([command, guardian, background]) == []


def test_command_does_not_outlive_the_wrapper_and_the_guardian_killed_together(
    replica: Replica, tmp_path: Path
):
    pids = tmp_path / "pids"
    server = replica.start_server(
        f"trap '' TERM; echo $$ $PPID > {pids}; while :; do sleep 0.05; done"
    )
    command, guardian = numbers_in(pids, 2)
    server.send(signal.SIGSTOP)  # or it would see to the end of the command itself
    os.kill(guardian, signal.SIGKILL)
    server.send(signal.SIGKILL)
    wait_for(lambda: not alive([command]), "the end of the command")
    server.end()


# --- when the cache is in the way ------------------------------------------------


@pytest.fixture
def held_up(replica: Replica) -> Iterator[Replica]:
    """A machine on which another process restores, and does not come to an end."""
    state = Path(replica.run("echo $TORCHINDUCTOR_CACHE_DIR").out.splitlines()[0]).parent / "state"
    with FileLock(state / "restore.lock"):
        yield replica


def test_load_that_hangs_delays_the_start_by_its_timeout_only(held_up: Replica):
    ended = held_up.run("echo up", "--load-timeout", "0.3")
    assert ended.code == 0
    assert ended.out.startswith("up\n")
    assert ended.facts["load"] is None
    assert "the load goes on after 0.3 s beside the start" in ended.err


def test_load_waits_for_another_as_long_as_the_variable_says(held_up: Replica):
    held_up.machine.variables["CLEANUP_LOCK_TIMEOUT_SECONDS"] = "1"
    ended = held_up.run("echo up", "--load-timeout", "60")
    assert ended.code == 0
    assert ended.statuses["load"] == "does_not_exist", "it went on beside the other"


def test_signal_during_the_load_ends_it_and_starts_nothing(held_up: Replica, tmp_path: Path):
    started = tmp_path / "started"
    server = held_up.start_server(f"touch {started}")
    threads = Path(f"/proc/{server.process.pid}/task")
    wait_for(lambda: len(list(threads.iterdir())) > 1, "the load")
    server.send(signal.SIGTERM)
    ended = server.end()
    assert ended.code == 128 + signal.SIGTERM
    assert not started.exists()


@pytest.fixture
def blocked(replica: Replica, store: Path) -> Iterator[Replica]:
    """A machine whose saves wait for another saver's turn to end."""
    replica.machine.variables["MAX_CONCURRENT_SAVES"] = "1"
    assert replica.run("compile first").statuses["exit"] == "success"
    with (store / "tmp" / "turns" / "save-0.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield replica


def test_save_that_hangs_delays_the_end_by_its_timeout_only(blocked: Replica):
    ended = blocked.run("compile more; exit 4", "--save-timeout", "0.3")
    assert ended.code == 4
    assert ended.facts["saves"] == {}
    assert "the save at the end was cut short" in ended.err


def test_signal_during_the_last_save_cuts_it_short(blocked: Replica, tmp_path: Path):
    pids = tmp_path / "pids"
    server = blocked.start_server(
        f"echo $$ > {pids}; compile more; exit 4", "--save-timeout", "1000"
    )
    started = numbers_in(pids, 1)
    wait_for(lambda: not alive(started), "the end of the command")
    threads = Path(f"/proc/{server.process.pid}/task")
    while server.process.poll() is None:  # one that comes before the save is no second one
        if len(list(threads.iterdir())) > 1:
            server.send(signal.SIGTERM)
        time.sleep(0.1)
    assert server.end().code == 4


def test_store_that_cannot_be_read_costs_a_warning(replica: Replica, store: Path):
    store.write_text("not a folder")
    ended = replica.run("echo up; exit 3")
    assert ended.code == 3
    assert ended.out.startswith("up\n")
    assert ended.statuses == {"load": "error", "exit": "error"}
    assert str(store) in ended.err


def test_command_of_another_python_runs_without_a_cache(replica: Replica, tmp_path: Path):
    """Which torch it has cannot be told from here."""
    other = tmp_path / "venv" / "bin" / "python3"
    other.parent.mkdir(parents=True)
    other.write_text("#!/bin/sh\necho ${TORCHINDUCTOR_CACHE_DIR:-unset}\n")
    other.chmod(0o755)
    script = tmp_path / "serve"
    script.write_text(f"#!{other}\n")
    script.chmod(0o755)
    ended = replica.start("run", "--json", "--", str(script)).end()
    assert (ended.code, ended.out.splitlines()[0]) == (0, "unset")
    assert f"it runs under {other}" in ended.err


# --- real torch ------------------------------------------------------------------

MODEL = """
import sys, torch
torch.manual_seed(0)
def model(x):
    return torch.relu(x.exp() + x.sin() * 2)
x = torch.randn(1003)
wrong = ~torch.isclose(torch.compile(model)(x), model(x))
sys.exit(int(wrong.sum()) and 1)
"""


@pytest.mark.slow
def test_real_torch_builds_nothing_on_the_second_machine(
    replica: Replica, next_replica: Replica, tmp_path: Path
):
    (tmp_path / "serve.py").write_text(MODEL)
    for each in (replica, next_replica):  # headers and probes are most of its time
        each.machine.variables["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] = "0"
        each.machine.variables["TORCHINDUCTOR_VEC_ISA_OK"] = "1"
    for machine, status in ((replica, "does_not_exist"), (next_replica, "success")):
        ended = machine.start(
            "run", "--json", "--", sys.executable, str(tmp_path / "serve.py")
        ).end(900)
        assert ended.code == 0, ended.err
        assert ended.statuses["load"] == status
    assert len(replica.machine.log.read_text().splitlines()) >= 1
    assert not next_replica.machine.log.exists(), next_replica.machine.log.read_text()
