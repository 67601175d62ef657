"""Every way in which pytest can be started, or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Cold
from tests.e2e.machine import Machine, write_project


def test_loaded_by_name_with_plugin_autoload_off(cold: Cold, store: Path, machine: Machine):
    run = machine.pytest(
        "-p", "compilecache", f"--compilecache-store={store}",
        cwd=cold.project, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert run.code == 0, run.out
    assert run.built == ()
    run.line(r"^compilecache: warm: 3 compiled tests")


def test_blocked_by_name_it_is_gone(machine: Machine, project: Callable[..., Path]):
    folder = project(
        test_env="import os\ndef test_env(): assert 'TORCHINDUCTOR_CACHE_DIR' not in os.environ\n"
    )
    run = machine.pytest("-p", "no:compilecache", cwd=folder)
    assert run.code == 0, run.out


def test_works_without_xdist(cold: Cold, store: Path, machine: Machine):
    run = machine.pytest(
        "-p", "no:xdist", f"--compilecache-store={store}", "-k", "plain", cwd=cold.project
    )
    assert run.code == 0, run.out
    run.line(r"^compilecache: warm: 1 compiled test, ")


def test_last_failed_and_stop_at_first_failure_keep_the_figures(
    cold: Cold, store: Path, machine: Machine, tmp_path: Path
):
    text = (cold.project / "test_kernels.py").read_text()
    text = text.replace(
        "def test_model(", "def test_z_fails(): assert 0\n\n@pytest.mark.compiled\ndef test_model("
    )
    folder = write_project(tmp_path / "project", test_kernels=text)
    python = [sys.executable, "-m", "pytest", f"--compilecache-store={store}"]
    first = machine.run(*python, "-x", cwd=folder)
    assert first.code == 1
    first.line(r"warm: \d compiled tests?")
    again = machine.run(*python, "--lf", cwd=folder)
    assert again.code == 1
    assert "warm" not in again.out


def test_collection_error_is_reported_and_the_rest_saved(
    machine: Machine, cold: Cold, tmp_path: Path
):
    folder = write_project(
        tmp_path / "project",
        test_broken="import torch\ntorch.compile(lambda x: x.sin() + 1)(torch.ones(3))\n1 / 0\n",
    )
    store = tmp_path / "store"
    run = machine.pytest(f"--compilecache-store={store}", cwd=folder)
    assert run.code == 2
    assert "ZeroDivisionError" in run.out
    run.line(r"cold outside of tests: 1 miss")
    assert list(store.rglob("*.pack"))


def test_interrupted_session_saves_what_it_compiled(machine: Machine, cold: Cold, tmp_path: Path):
    text = (cold.project / "test_kernels.py").read_text()
    folder = write_project(
        tmp_path / "project",
        test_a_kernels=text,
        test_b_waits="""
            import time

            def test_wait():
                open('waiting', 'w').close()
                time.sleep(120)
        """,
    )
    store = tmp_path / "store"
    # A shell's background jobs, and so all that they start, ignore the signal.
    listening = (
        "import signal, sys, pytest; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "sys.exit(pytest.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", listening, "-k", "plain or wait", f"--compilecache-store={store}"],
        cwd=folder, env=machine.environ(), text=True,
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (folder / "waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2, out
    assert "saved" in out
    machine.start_over()
    warm = machine.pytest("-k", "plain", f"--compilecache-store={store}", cwd=cold.project)
    assert warm.built == ()


def test_variables_are_ours_only_while_the_session_runs(machine: Machine, tmp_path: Path):
    write_project(tmp_path, test_nothing="def test_nothing(): pass\n")
    run = machine.python(
        """
        import os, pytest
        before = dict(os.environ)
        assert pytest.main(["-q", "-p", "no:cacheprovider", "--compilecache-store=store"]) == 0
        after = dict(os.environ)
        for ours in (before, after):
            ours.pop("PYTEST_VERSION", None)
        print("CHANGED", {k for k in {*before, *after} if before.get(k) != after.get(k)})
        """,
        cwd=tmp_path,
    )
    assert "CHANGED set()" in run.out, run.out


def test_pytest_started_by_a_test_finds_the_same_cache(
    cold: Cold, store: Path, machine: Machine, tmp_path: Path
):
    folder = write_project(
        tmp_path / "project",
        test_outer=f"""
            import subprocess, sys

            def test_outer():
                command = [sys.executable, "-m", "pytest", "-k", "plain", {str(cold.project)!r},
                           "--compilecache-store={store}"]
                out = subprocess.run(command, capture_output=True, text=True).stdout
                assert "compilecache: warm: 1 compiled test" in out, out
        """,
    )
    for arguments in ([], ["-n", "2"]):
        run = machine.pytest(f"--compilecache-store={store}", *arguments, cwd=folder)
        assert run.code == 0, run.out


CHILD = """
    import subprocess, sys, os

    CODE = '''
    import torch
    def f(x):
        return torch.relu(x.exp() + x.sin() * 2)
    torch.manual_seed(0)
    x = torch.randn(1003)
    torch.compile(f)(x)
    '''

    def test_child(tmp_path):
        program = tmp_path / "program.py"
        import textwrap
        import torch  # from here on, the variables that a child inherits are set
        program.write_text(textwrap.dedent(CODE))
        environ = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2"}
        subprocess.run([sys.executable, program], env=environ, check=True)

    def test_parent():
        import torch
        def f(x):
            return torch.relu(x.exp() + x.sin() * 2)
        torch.manual_seed(0)
        x = torch.randn(1003)
        torch.testing.assert_close(torch.compile(f)(x), f(x))
"""


def test_what_an_unprotected_child_compiled_is_neither_found_nor_saved(
    machine: Machine, tmp_path: Path
):
    """A child without our key tag may have compiled for other vector instructions."""
    folder = write_project(tmp_path / "project", test_child=CHILD)
    store = f"--compilecache-store={tmp_path / 'store'}"
    first = machine.pytest(store, cwd=folder)
    assert first.code == 0, first.out
    first.line(r"not warm: 1 of 1 compiled test cold, 1 miss, 0 hits")
    (inductor,) = (machine.home / ".cache" / "compilecache").rglob("inductor")
    assert any((inductor / "fxgraph").rglob("*"))
    machine.start_over()
    second = machine.pytest(store, "-k", "parent", cwd=folder)
    assert second.code == 0, second.out
    (inductor,) = (machine.home / ".cache" / "compilecache").rglob("inductor")
    assert not (inductor / "fxgraph").exists()


def test_pytest_inside_a_pytest_compiles(machine: Machine, tmp_path: Path):
    folder = write_project(
        tmp_path / "project",
        test_outer="""
            import torch

            def test_outer(pytester):
                pytester.makepyfile(test_inner='import torch\\ndef test_inner():\\n    '
                    'torch.compile(lambda x: x.sin(), backend="aot_eager")(torch.ones(2))')
                pytester.runpytest_inprocess().assert_outcomes(passed=1)
        """,
    )
    run = machine.pytest("-p", "pytester", cwd=folder)
    assert run.code == 0, run.out


def test_every_umask_makes_a_workspace_that_is_used(machine: Machine, tmp_path: Path):
    folder = write_project(
        tmp_path / "project",
        conftest="import os\nos.umask(0o002)\n",
        test_eager="import torch\ndef test_eager(): pass\n",
    )
    run = machine.pytest("--compilecache-strict", cwd=folder)
    assert run.code == 0, run.out
    assert "warning" not in run.out


def test_user_variables_are_never_overridden(machine: Machine, tmp_path: Path):
    folder = write_project(
        tmp_path / "project",
        test_env="""
            import os

            def test_env():
                assert os.environ["TORCHINDUCTOR_CPP_DYNAMIC_THREADS"] == "0"
                assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == os.environ["EXPECTED"]
        """,
    )
    mine = tmp_path / "mine"
    variables = {
        "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(mine),
        "EXPECTED": str(mine),
    }
    run = machine.pytest("--compilecache-store=store", cwd=folder, env=variables)
    assert run.code == 0, run.out


def test_directory_of_an_unknown_environment_is_followed_but_not_shared_and_that_is_said(
    machine: Machine, tmp_path: Path
):
    mine = tmp_path / "mine"
    (mine / "fxgraph").mkdir(parents=True)
    folder = write_project(
        tmp_path / "project",
        test_env="""
            import os
            import torch

            def test_env():
                assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == os.environ["EXPECTED"]
        """,
    )
    variables = {"TORCHINDUCTOR_CACHE_DIR": str(mine), "EXPECTED": str(mine)}
    for _ in range(2):  # nor does the first session make it the second one's own
        run = machine.pytest("--compilecache-store=store", cwd=folder, env=variables)
        assert run.code == 0, run.out
        run.line("warning: .*holds artifacts of an unknown environment")
    assert not list((folder / "store").rglob("*.pack"))


def test_workers_share_the_folder_that_the_user_named(cold: Cold, machine: Machine, tmp_path: Path):
    machine.variables["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "named")
    machine.pytest("-k", "plain", "-n", "1", cwd=cold.project)
    assert list((tmp_path / "named").rglob("*.so"))
    again = machine.pytest("-k", "plain", cwd=cold.project)
    assert again.built == ()
