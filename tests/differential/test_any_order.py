"""Sessions and calls in one process end in any order, and everything is undone."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.differential.sessions import DRIVE
from tests.e2e.machine import Machine, write_project

# What both programs share: how often a name of torch is wrapped, and where entries lie.
LOOK = f"""
    import json, os, sys
    sys.path.insert(0, {str(DRIVE.parent)!r})
    import drive, pytest

    WORDS = drive.Words({{}})
    QUIET = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]

    def depth(path):
        value, count = drive.look(path), 0
        while hasattr(value, "__wrapped__"):
            value, count = value.__wrapped__, count + 1
        return count

    def look():
        return {{
            "patched": sorted(drive.patched_names()),
            "variables": {{
                name: value for name, value in os.environ.items()
                if name.startswith(("COMPILECACHE_", "TORCHINDUCTOR_", "TRITON_"))
            }},
            "finders": [each for each in drive.finders() if each.startswith("pytest_compilecache")],
            "keys": depth("torch._inductor.codecache:FxGraphHashDetails.__init__"),
        }}

    def entries(folder):
        return sorted(
            "/".join(part for part in path.relative_to(folder).parts[:-3])
            for path in folder.rglob("fxgraph/*/*/*") if path.is_file()
        )
"""
SUITE = """
    import torch

    def test_compiles():
        torch.compile(lambda x: x.sin() + 1, backend="aot_eager")(torch.ones(3))
"""


def run(machine: Machine, code: str, folder: Path, **suites: str) -> dict[str, Any]:
    """Run a program that ends with what it saw, as JSON in its last line."""
    write_project(folder, **suites)
    machine.variables["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    program = textwrap.dedent(LOOK) + textwrap.dedent(code)
    done = machine.run(sys.executable, "-c", program, cwd=folder)
    last = done.out.splitlines()[-1] if done.out else ""
    assert last.startswith("{"), done.out
    return json.loads(last)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.mark.slow
def test_session_that_ends_before_the_process_leaves_the_calls_their_cache(
    machine: Machine, tmp_path: Path
):
    """``load_compile_cache()`` in a test: the session ends first, the process goes on."""
    seen = run(
        machine,
        """
        from pathlib import Path
        before = look()
        code = int(pytest.main([*QUIET, "test_server.py"]))
        after = look()
        import torch
        torch._dynamo.reset()
        torch.compile(lambda x: x.cos() + 2)(torch.ones(3))
        folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        from pytest_compilecache import save_compile_cache
        saved = save_compile_cache().name
        print()
        print(json.dumps({
            "code": code, "before": before, "after": after, "last": look(),
            "entries": entries(folder), "saved": saved,
        }))
        """,
        tmp_path / "project",
        test_server=f"""
            import os
            import torch

            def test_loads_and_compiles():
                from pytest_compilecache import load_compile_cache
                os.environ["B10FS_CACHE_DIR"] = {str(tmp_path / "store")!r}
                load_compile_cache()
                torch.compile(lambda x: x.sin() + 1)(torch.ones(3))

            def test_compiles_on():
                torch.compile(lambda x: x.tan() + 1)(torch.ones(3))
        """,
    )
    assert seen["code"] == 0
    assert seen["before"]["patched"] == []
    # The process serves on: its keys are protected, once.
    assert seen["last"]["keys"] == 1
    assert all(folder.count("guarded") == 1 for folder in seen["entries"]), seen["entries"]
    assert "COMPILECACHE_SESSION" not in seen["after"]["variables"]
    assert seen["saved"] == "SUCCESS"


@pytest.mark.slow
def test_inner_session_ends_before_and_after_what_it_began_in(machine: Machine, tmp_path: Path):
    """A session in a session, the first that imports torch; then a third one."""
    seen = run(
        machine,
        """
        looks = [look()]
        codes = [int(pytest.main([*QUIET, "test_outer.py"]))]
        looks.append(look())
        codes.append(int(pytest.main([*QUIET, "test_inner.py"])))
        looks.append(look())
        print()
        print(json.dumps({"codes": codes, "looks": looks}))
        """,
        tmp_path / "project",
        test_inner=SUITE,
        test_outer="""
            import json
            import sys
            import pytest

            def depth():
                import drive
                value = drive.look("torch._inductor.codecache:FxGraphHashDetails.__init__")
                count = 0
                while hasattr(value, "__wrapped__"):
                    value, count = value.__wrapped__, count + 1
                return count

            def test_inner_session():
                quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
                assert pytest.main([*quiet, "test_inner.py"]) == 0

            def test_outer_session_is_protected_still_and_once():
                import torch
                torch.compile(lambda x: x.cos() + 1, backend="aot_eager")(torch.ones(3))
                assert depth() == 1
        """,
    )
    assert seen["codes"] == [0, 0]
    start, *ends = seen["looks"]
    for end in ends:
        assert end["patched"] == []
        assert end["keys"] == 0
        assert end["finders"] == []
        assert end["variables"].keys() - start["variables"].keys() <= {
            "TORCHINDUCTOR_CACHE_DIR",  # where torch sets it itself
            "TRITON_CACHE_DIR",
        }
        assert not any("compilecache" in value for value in end["variables"].values())
