"""A kill while the linker runs leaves an empty library at its final path, for ever.

Torch never replaces it: every later run fails with "file too short".
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from tests.e2e.conftest import Cold
from tests.e2e.machine import Machine

KILLER = """\
#!/bin/sh
for word in "$@"; do
  case "$word" in *.cpp) grep -q _chk_kernel "$word" && probe=yes ;; esac
done
case "$*" in
  *-shared*)
    if [ -z "$probe" ] && [ ! -e "$KILL_ONCE" ]; then
      touch "$KILL_ONCE"
      for word in "$@"; do
        case "$last" in -o) : > "$word" ;; esac
        last="$word"
      done
      kill -9 0
    fi ;;
esac
exec "$SHIM_REAL" "$@"
"""


def test_killed_while_linking_heals_on_next_session(cold: Cold, machine: Machine, tmp_path: Path):
    shim = machine.bin / "g++"
    logging_shim = shim.read_text()
    shim.write_text(KILLER)
    shim.chmod(shim.stat().st_mode | stat.S_IEXEC)
    once = tmp_path / "killed"
    killed = machine.run(
        "setsid", "--wait", sys.executable, "-m", "pytest", "-k", "plain",
        cwd=cold.project, env={"KILL_ONCE": str(once)},
    )  # fmt: skip
    assert once.exists()
    assert killed.code != 0
    torn = [path for path in machine.workspace_files("*.so") if path.stat().st_size == 0]
    assert len(torn) == 1, "the kill left no torn library, so this test shows nothing"

    shim.write_text(logging_shim)
    healed = machine.pytest("-k", "plain", cwd=cold.project)
    assert healed.code == 0, healed.out
    healed.line(r"healed: 1 file left torn by a killed process, now in quarantine")
    assert "1 passed" in healed.out

    after = machine.pytest("-k", "plain", cwd=cold.project)
    assert after.code == 0, after.out
    assert "healed" not in after.out
    after.line(r"^compilecache: warm: 1 compiled test, ")


def test_torn_library_is_never_saved(cold: Cold, warm_machine: Machine, tmp_path: Path):
    machine = warm_machine
    libraries = machine.workspace_files("*.so")
    libraries[0].write_bytes(libraries[0].read_bytes()[:-100])
    fresh = f"--compilecache-store={tmp_path / 'fresh'}"
    run = machine.pytest(fresh, "-k", "nothing_of_this_name", cwd=cold.project)
    run.line(r"healed: 1 file")
    machine.start_over()
    again = machine.pytest(fresh, cwd=cold.project)
    assert again.code == 0, again.out
    assert "healed" not in again.out
