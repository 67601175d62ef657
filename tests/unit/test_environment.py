from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_compilecache import _compiler, _host, _processor
from pytest_compilecache.environment import (
    Environment,
    FieldDifference,
    Host,
    detect_environment,
    nearest,
)
from pytest_compilecache.errors import EnvironmentUnknownError, SettingsError

ICE_LAKE = {
    "vendor_id": "GenuineIntel",
    "cpu family": "6",
    "model": "106",
    "model name": "Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz",
    "flags": "fpu tsc cx16 lahf_lm popcnt pni sse sse2 sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 "
    "f16c fma abm movbe xsave avx512f avx512_vnni hypervisor ibrs constant_tsc",
}
HASWELL = {
    **ICE_LAKE,
    "model": "63",
    "flags": ICE_LAKE["flags"].replace("avx512f avx512_vnni ", ""),
}
GRAVITON_3 = {
    "Features": "fp asimd evtstrm aes sve cpuid bf16",
    "CPU implementer": "0x41",
    "CPU part": "0xd40",
    "SVE length": "32",
}
GCC_12 = "g++ (Debian 12.2.0-14) 12.2.0\nCopyright (C) 2022 Free Software Foundation, Inc.\n"

VERSION_OF_TORCH_2_13 = """\
from typing import Optional

__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'rocm', 'xpu']
__version__ = '2.13.0+cpu'
debug = False
cuda: Optional[str] = None
git_version = 'cf30153c'
hip: Optional[str] = None
rocm: Optional[str] = None
xpu: Optional[str] = None
"""


def make_torch(folder: Path, version: str = VERSION_OF_TORCH_2_13) -> Path:
    for subfolder in ("lib", "_inductor"):
        (folder / subfolder).mkdir(parents=True)
    (folder / "version.py").write_text(version)
    (folder / "lib" / "libtorch_cpu.so").write_bytes(b"machine code")
    (folder / "_inductor" / "config.py").write_text('get("TORCHINDUCTOR_CPP_MARCH")')
    return folder


class FakeHost(Host):
    def __init__(self, torch: Path | None, **answers):
        self.answers = {
            "torch": torch,
            "triton": None,
            "python_implementation": "cpython",
            "python_version": "3.11.7",
            "python_abi": "cpython-311-x86_64-linux-gnu",
            "operating_system": "linux",
            "machine": "x86_64",
            "hostname": "runner-1",
            "libc": "glibc 2.36",
            "processor": ICE_LAKE,
            "compiler": "g++ (Debian 12.2.0-14) 12.2.0",
        } | answers

    def package_folder(self, package):
        return self.answers[package]

    def python_implementation(self):
        return self.answers["python_implementation"]

    def python_version(self):
        return self.answers["python_version"]

    def python_abi(self):
        return self.answers["python_abi"]

    def operating_system(self):
        return self.answers["operating_system"]

    def machine(self):
        return self.answers["machine"]

    def hostname(self):
        return self.answers["hostname"]

    def libc(self):
        return self.answers["libc"]

    def processor(self):
        return self.answers["processor"]

    def compiler(self, _environ, _memo):
        return self.answers["compiler"]


@pytest.fixture
def torch(tmp_path):
    return make_torch(tmp_path / "site-packages" / "torch")


@pytest.fixture
def detect(torch):
    def detect(environ=None, *, extra=None, **answers):
        host = FakeHost(**{"torch": torch, **answers})
        return detect_environment(environ or {}, host=host, extra=extra)

    return detect


def changed(one: Environment, other: Environment) -> list[str]:
    assert (one.id == other.id) is (one == other)
    return [difference.field for difference in one.differences(other)]


# --- what separates ---------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer", "field"),
    [
        ("python_implementation", "pypy", "python_implementation"),
        ("python_version", "3.11.8", "python"),
        ("python_abi", "cpython-311d-x86_64-linux-gnu", "python_abi"),
        ("operating_system", "freebsd14", "os"),
        ("machine", "aarch64", "machine"),
        ("libc", "glibc 2.39", "libc"),
        ("libc", "musl 0123456789abcdef", "libc"),
        ("compiler", "g++ (Debian 12.2.0-15) 12.2.0", "cxx"),
        ("compiler", "absent", "cxx"),
    ],
)
def test_another_answer_of_the_machine_is_another_environment(detect, question, answer, field):
    assert changed(detect(), detect(**{question: answer})) == [field]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("'2.13.0+cpu'", "'2.13.1+cpu'", "torch"),
        ("'cf30153c'", "'deadbeef'", "torch_git"),
        ("cuda: Optional[str] = None", "cuda: Optional[str] = '13.0'", "torch_cuda"),
        ("hip: Optional[str] = None", "hip: Optional[str] = '7.1.25424'", "torch_hip"),
        ("xpu: Optional[str] = None", "xpu: Optional[str] = '20250301'", "torch_xpu"),
        ("debug = False", "debug = True", "torch_debug"),
    ],
)
def test_another_torch_is_another_environment(detect, tmp_path, old, new, field):
    other = make_torch(tmp_path / "other", VERSION_OF_TORCH_2_13.replace(old, new))
    assert changed(detect(), detect(torch=other)) == [field]


def test_another_build_of_one_torch_release_is_another_environment(detect, torch, tmp_path):
    other = make_torch(tmp_path / "conda")
    (other / "lib" / "libtorch_cpu.so").write_bytes(b"machine code without MKL")
    assert changed(detect(), detect(torch=other)) == ["torch_library"]


def test_another_triton_is_another_environment(detect, tmp_path):
    older, newer = tmp_path / "older", tmp_path / "newer"
    for folder, version in ((older, "3.4.0"), (newer, "3.5.0")):
        folder.mkdir()
        (folder / "__init__.py").write_text(f'"""isort:skip_file"""\n__version__ = {version!r}\n')
    assert detect(triton=older).fields["triton"] == "3.4.0"
    assert detect().fields["triton"] == "absent"
    assert changed(detect(triton=older), detect(triton=newer)) == ["triton"]


@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [
        ("ATEN_CPU_CAPABILITY", "avx2", "aten_cpu_capability"),
        ("ATEN_CPU_CAPABILITY", "default", "aten_cpu_capability"),
        ("TORCHINDUCTOR_CPP_MARCH", "x86-64-v3", "inductor_cpp_march"),
        ("TORCHINDUCTOR_CPP_MARCH", "", "inductor_cpp_march"),
        ("TORCHINDUCTOR_VEC_ISA_OK", "0", "inductor_vec_isa_ok"),
        ("TORCHINDUCTOR_VEC_ISA_OK", "1", "inductor_vec_isa_ok"),
        ("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0", "precompiled_headers"),
        ("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "true", "precompiled_headers"),
    ],
)
def test_a_setting_that_steers_code_is_another_environment(detect, variable, value, field):
    assert changed(detect(), detect({variable: value})) == [field]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ATEN_CPU_CAPABILITY", ""),
        ("TORCHINDUCTOR_VEC_ISA_OK", "yes"),
        ("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "1"),
    ],
)
def test_a_setting_that_torch_takes_for_its_default_is_the_same_environment(
    detect, variable, value
):
    assert changed(detect(), detect({variable: value})) == []


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_tile", "gfni", "a_flag_of_next_year"])
def test_one_more_instruction_set_is_another_environment(detect, flag):
    newer = {**ICE_LAKE, "flags": f"{ICE_LAKE['flags']} {flag}"}
    assert changed(detect(), detect(processor=newer)) == ["cpu_flags"]


def test_processors_that_differ_in_what_linux_never_shows_are_kept_apart(detect):
    granite_rapids = {**ICE_LAKE, "model": "173"}
    emerald_rapids = {**ICE_LAKE, "model": "207"}
    one, other = detect(processor=granite_rapids), detect(processor=emerald_rapids)
    assert changed(one, other) == ["cpu"]


@pytest.mark.parametrize("line", ["CPU implementer", "CPU part", "SVE length"])
def test_arm_processors_of_another_kind_are_kept_apart(detect, line):
    other = {**GRAVITON_3, line: "0x7"}
    assert changed(detect(processor=GRAVITON_3), detect(processor=other)) == ["cpu"]


def test_an_arm_processor_without_sve_is_another_environment(detect):
    other = {**GRAVITON_3, "Features": "fp asimd aes bf16"}
    assert changed(detect(processor=GRAVITON_3), detect(processor=other)) == ["cpu_flags"]


@pytest.mark.parametrize("told", [{}, {"model name": "A riddle"}, {"cpu": "POWER9"}, {"flags": ""}])
def test_machines_whose_processor_cannot_be_told_share_nothing(detect, told):
    here = detect(processor=told, hostname="runner-1")
    there = detect(processor=told, hostname="runner-2")
    assert changed(here, there) == ["cpu"]
    assert here.fields["cpu_flags"] == "unknown:x86_64"


def test_macs_are_told_by_their_brand(detect):
    first = detect(processor={"Apple": "Apple M1"}, machine="arm64")
    roaming = detect(processor={"Apple": "Apple M1"}, machine="arm64", hostname="cafe.lan")
    second = detect(processor={"Apple": "Apple M2"}, machine="arm64")
    assert changed(first, roaming) == []
    assert changed(first, second) == ["cpu"]
    assert first.fields["cpu_flags"] == "unknown:arm64"


def test_a_mac_that_does_not_tell_its_brand_is_told_by_its_name(detect):
    here = detect(processor={"Apple": ""}, machine="arm64")
    assert here.fields["cpu"] == "unknown on runner-1"


@pytest.mark.parametrize("version", [None, "", "syntax error (", "\0", "debug = False", "x = y()"])
def test_machines_whose_torch_cannot_be_read_share_nothing(detect, torch, version):
    if version is None:
        (torch / "version.py").unlink()
    else:
        (torch / "version.py").write_text(version)
    assert changed(detect(hostname="a"), detect(hostname="b")) == ["torch", "torch_git"]


def test_a_torch_without_its_library_shares_nothing(detect, torch):
    (torch / "lib" / "libtorch_cpu.so").unlink()
    assert changed(detect(hostname="a"), detect(hostname="b")) == ["torch_library"]


def test_a_missing_torch_is_an_answer_and_no_error(detect):
    environment = detect(torch=None)
    told = {name: value for name, value in environment.fields.items() if name.startswith("torch")}
    assert set(told.values()) == {"absent"}
    assert len(told) == 7
    assert environment.id.startswith("torchabsent-cp311-linux-x86_64-avx512-")


def test_a_version_file_of_torch_2_7_reads_as_well(detect, tmp_path):
    old = VERSION_OF_TORCH_2_13.replace("rocm: Optional[str] = None\n", "").replace("2.13", "2.7")
    fields = detect(torch=make_torch(tmp_path / "old", old)).fields
    assert fields["torch"] == "2.7.0+cpu"
    assert fields["torch_hip"] == "none"


def test_a_version_file_is_never_run(detect, torch, tmp_path):
    trap = tmp_path / "ran"
    with (torch / "version.py").open("a") as version:
        version.write(f"open({str(trap)!r}, 'w')\n")
    assert detect().fields["torch"] == "2.13.0+cpu"
    assert not trap.exists()


# --- what does not separate -------------------------------------------------


@pytest.mark.parametrize(
    "variable",
    ["HOME", "USER", "TMPDIR", "PYTHONHASHSEED", "OMP_NUM_THREADS", "COMPILECACHE_STORE", "CI"],
)
def test_an_unrelated_variable_changes_nothing(detect, variable):
    assert changed(detect(), detect({variable: "7"})) == []


def test_another_host_name_changes_nothing_where_all_can_be_told(detect):
    assert changed(detect(), detect(hostname="runner-2")) == []


def test_another_folder_of_the_same_torch_changes_nothing(detect, tmp_path):
    assert changed(detect(), detect(torch=make_torch(tmp_path / "home" / "venv" / "torch"))) == []


def test_another_working_directory_changes_nothing(detect, tmp_path, monkeypatch):
    before = detect()
    monkeypatch.chdir(tmp_path)
    assert changed(before, detect()) == []


@pytest.mark.parametrize(
    "line", ["processor", "siblings", "cpu cores", "cpu MHz", "microcode", "bogomips", "cache size"]
)
def test_core_count_clock_and_microcode_change_nothing(detect, line):
    assert changed(detect(), detect(processor={**ICE_LAKE, line: "64"})) == []


@pytest.mark.parametrize(
    "flag", ["vmx", "pti", "md_clear", "tsc_deadline_timer", "ht", "hwp", "pebs", "smap"]
)
def test_flags_that_no_compiler_uses_change_nothing(detect, flag):
    other = {**ICE_LAKE, "flags": f"{ICE_LAKE['flags']} {flag}"}
    assert changed(detect(), detect(processor=other)) == []


def test_the_order_of_flags_changes_nothing(detect):
    turned = {**ICE_LAKE, "flags": " ".join(reversed(ICE_LAKE["flags"].split()))}
    assert changed(detect(), detect(processor=turned)) == []


# --- the portable profile ---------------------------------------------------

PORTABLE = {"ATEN_CPU_CAPABILITY": "avx2", "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3"}


def test_a_mixed_fleet_under_the_portable_profile_shares_one_environment(detect):
    newer, older = detect(PORTABLE), detect(PORTABLE, processor=HASWELL)
    assert changed(newer, older) == []
    assert "-avx2-" in newer.id
    assert newer.fields["cpu_flags"] == "those of x86-64-v3"


@pytest.mark.parametrize("missing", PORTABLE)
def test_half_a_portable_profile_shares_nothing(detect, missing):
    half = {name: value for name, value in PORTABLE.items() if name != missing}
    assert "cpu_flags" in changed(detect(half), detect(half, processor=HASWELL))


def test_a_portable_profile_with_vectors_that_torch_widens_shares_nothing(detect):
    wide = {"ATEN_CPU_CAPABILITY": "avx512", "TORCHINDUCTOR_CPP_MARCH": "x86-64-v4"}
    richer = {**ICE_LAKE, "flags": f"{ICE_LAKE['flags']} amx_tile"}
    assert "cpu_flags" in changed(detect(wide), detect(wide, processor=richer))


def test_a_torch_that_does_not_know_the_profile_shares_nothing(detect, torch):
    (torch / "_inductor" / "config.py").write_text("march = 'native'")
    assert "cpu_flags" in changed(detect(PORTABLE), detect(PORTABLE, processor=HASWELL))


def test_a_processor_too_old_for_the_profile_is_kept_apart(detect):
    old = {**HASWELL, "flags": HASWELL["flags"].replace("fma ", "")}
    assert "cpu_flags" in changed(detect(PORTABLE), detect(PORTABLE, processor=old))


# --- fields of the user's own -----------------------------------------------


def test_a_field_of_the_users_own_is_another_environment(detect):
    assert changed(detect(), detect(extra={"acme.kernels": "7"})) == ["acme.kernels"]


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a b", "a/b", "a\n", "a" * 65, "é", None])
def test_a_field_with_a_bad_name_is_refused(detect, name):
    with pytest.raises(SettingsError, match="not a name"):
        detect(extra={name: "7"})


@pytest.mark.parametrize("name", ["torch", "cpu_flags", "cxx"])
def test_a_field_cannot_take_the_place_of_ours(detect, name):
    with pytest.raises(SettingsError, match=f"environment field '{name}': it is found out already"):
        detect(extra={name: "7"})


@pytest.mark.parametrize("value", [7, None, "two\nlines", "\x1b[31m", "x" * 5000])
def test_a_field_with_a_bad_value_is_refused(detect, value):
    with pytest.raises(SettingsError, match="one line of text"):
        detect(extra={"acme": value})


def test_too_many_fields_are_refused(detect):
    with pytest.raises(SettingsError, match="too many"):
        detect(extra={f"acme{number}": "" for number in range(128)})


# --- the id -----------------------------------------------------------------


def test_the_id_reads_well(detect):
    label, _, digest = detect().id.rpartition("-")
    assert label == "torch2.13.0-cpu-cp311-linux-x86_64-avx512"
    assert len(digest) == 16
    assert int(digest, 16)


@pytest.mark.parametrize(
    ("processor", "word"),
    [
        (ICE_LAKE, "avx512"),
        (HASWELL, "avx2"),
        (GRAVITON_3, "sve"),
        ({**GRAVITON_3, "Features": "fp asimd"}, "neon"),
        ({}, "generic"),
    ],
)
def test_the_id_names_the_vector_unit(detect, processor, word):
    assert detect(processor=processor).id.split("-")[-2] == word


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.sampled_from(["torch", "os", "machine", "python", "aten_cpu_capability"]), st.text()
    )
)
def test_the_id_is_safe_as_a_name_whatever_the_fields_say(fields):
    name = Environment(fields).id
    assert len(name) <= 100
    assert name.strip("abcdefghijklmnopqrstuvwxyz0123456789_.-") == ""
    assert name[0].isalnum()


def test_the_id_does_not_depend_on_the_order_of_fields(detect):
    environment = detect()
    assert Environment(dict(reversed(environment.fields.items()))).id == environment.id


def test_an_environment_cannot_be_changed(detect):
    with pytest.raises(TypeError):
        detect().fields["torch"] = "3.0"


def test_changing_the_mapping_that_it_was_made_from_changes_nothing():
    source = {"torch": "2.13.0"}
    environment = Environment(source)
    source["torch"] = "3.0"
    assert environment.fields["torch"] == "2.13.0"


def test_an_environment_crosses_processes_and_serves_as_a_key(detect):
    environment = detect()
    assert pickle.loads(pickle.dumps(environment)) == environment
    assert {environment: 1}[detect()] == 1


def test_odd_answers_of_a_machine_still_make_a_readable_description(detect):
    environment = detect(
        {"ATEN_CPU_CAPABILITY": "avx2\udcff\n\x1b[31m"}, compiler="g++ " + "x" * 9000
    )
    assert all(value.isprintable() for value in environment.fields.values())
    assert Environment.from_json(environment.to_json()) == environment
    assert changed(environment, detect(compiler="g++ " + "x" * 9001)) != []


# --- JSON -------------------------------------------------------------------


def test_a_description_reads_back_as_it_was_written(detect):
    environment = detect(extra={"acme": "Grüße"})
    assert Environment.from_json(environment.to_json()) == environment
    assert json.loads(environment.to_json())["id"] == environment.id
    assert "Grüße" in environment.to_json()


def described(fields: object, **more: object) -> str:
    document = {"format": 1, "id": "", "fields": fields, **more}
    if isinstance(fields, dict) and "id" not in more:
        document["id"] = Environment({k: v for k, v in fields.items() if isinstance(v, str)}).id
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "[" * 200_000,
        "9" * 10_000,
        "{}",
        described([]),
        described({"a": 1}),
        described({"a": None}),
        described({"a": "two\nlines"}),
        described({"a": "\x1b[2J"}),
        described({"a": "\ud800"}),
        described({"a": "x" * 5000}),
        described({"../../etc": "x"}),
        described({"": "x"}),
        described({f"a{number}": "" for number in range(129)}),
        described({"a": "b"}, format=2),
        described({"a": "b"}, id=None),
        described({"a": "b"}, id="torch-0"),
        described({"a": "b"}, surprise=1),
        '{"format": 1, "id": "x", "fields": {"a": "b", "a": "c"}}',
        " " * (1024 * 1024 + 1),
    ],
    ids=range(24),
)
def test_a_torn_or_hostile_description_is_refused(text):
    with pytest.raises(EnvironmentUnknownError, match="environment description: "):
        Environment.from_json(text)


def test_an_altered_description_is_refused(detect):
    altered = detect().to_json().replace("glibc 2.36", "glibc 2.99")
    with pytest.raises(EnvironmentUnknownError, match="does not belong to its fields"):
        Environment.from_json(altered)


@given(st.text(max_size=300))
def test_any_other_text_is_refused_and_never_breaks(text):
    with pytest.raises(EnvironmentUnknownError):
        Environment.from_json(text)


# --- explaining -------------------------------------------------------------


def test_differences_name_each_field_with_both_values():
    here = Environment({"torch": "2.13.0", "os": "linux", "acme": "1"})
    there = Environment({"torch": "2.12.0", "os": "linux"})
    assert here.differences(there) == (
        FieldDifference("acme", "1", "not recorded"),
        FieldDifference("torch", "2.13.0", "2.12.0"),
    )
    assert str(here.differences(there)[1]) == "torch: 2.13.0 here, 2.12.0 there"


def test_a_difference_in_flags_names_only_the_flags_that_differ():
    difference = FieldDifference("cpu_flags", "avx avx2 avx512f", "avx avx2")
    assert str(difference) == "cpu_flags: avx512f only here, nothing only there"


def test_the_nearest_environment_differs_in_the_fewest_fields(detect):
    near = detect(libc="glibc 2.39")
    far = detect(libc="glibc 2.39", python_version="3.12.1")
    assert nearest(detect(), [far, near]) == near
    assert nearest(detect(), [far, near, detect()]) == detect()


def test_of_environments_equally_near_always_the_same_is_chosen(detect):
    candidates = [detect(libc=f"glibc 2.{minor}") for minor in range(30, 36)]
    assert nearest(detect(), candidates) == nearest(detect(), reversed(candidates))


def test_nothing_is_nearest_in_an_empty_store(detect):
    assert nearest(detect(), []) is None


# --- the compiler -----------------------------------------------------------


def write_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def write_compiler(folder: Path, version: str = GCC_12, name: str = "g++") -> Path:
    return write_program(folder / name, f"cat <<'EOF'\n{version}\nEOF")


def identify(path: Path | str, memo: Path | None = None, **variables: str) -> str:
    environ = {"PATH": f"{path}{os.pathsep}/usr/bin{os.pathsep}/bin", **variables}
    return _compiler.identify_compiler(environ, hostname="runner-1", memo=memo)


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch):
    monkeypatch.setattr(_compiler, "TIMEOUT_SECONDS", 20.0)


def test_the_compiler_is_named_by_what_it_says(tmp_path):
    write_compiler(tmp_path)
    assert identify(tmp_path) == "g++ (Debian 12.2.0-14) 12.2.0"


def test_a_compiler_in_cxx_comes_before_the_default(tmp_path):
    write_compiler(tmp_path)
    other = write_compiler(tmp_path / "other", GCC_12.replace("12.2.0", "13.3.0"), "g++-13")
    assert identify(tmp_path, CXX=str(other)) == "g++ (Debian 13.3.0-14) 13.3.0"


def test_the_first_compiler_on_the_path_counts(tmp_path):
    write_compiler(tmp_path / "a", GCC_12.replace("12.2.0", "13.3.0"))
    write_compiler(tmp_path / "b")
    assert "13.3.0" in identify(f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")


def test_a_wrapper_in_front_is_the_compiler_that_it_forwards_to(tmp_path):
    real = write_compiler(tmp_path / "real")
    write_program(tmp_path / "wrapper" / "g++", f'exec {real} "$@"')
    assert identify(tmp_path / "wrapper") == identify(tmp_path / "real")


@pytest.mark.parametrize("name", ["g++-12", "c++", "c++-12.2"])
def test_other_names_of_gcc_are_the_same_compiler(tmp_path, name):
    write_compiler(tmp_path, GCC_12.replace("g++", name, 1), name)
    assert identify(tmp_path, CXX=name) == "g++ (Debian 12.2.0-14) 12.2.0"


@pytest.mark.parametrize("name", ["aarch64-linux-gnu-g++", "gcc"])
def test_a_cross_compiler_or_a_c_compiler_is_another_compiler(tmp_path, name):
    write_compiler(tmp_path, GCC_12.replace("g++", name, 1), name)
    assert identify(tmp_path, CXX=name).startswith(name)


def test_clang_is_named_without_the_folder_that_it_lies_in(tmp_path):
    says = "clang version 17.0.6\nTarget: x86_64\nThread model: posix\nInstalledDir: /home/ann/bin"
    write_compiler(tmp_path, says, "clang++")
    name = identify(tmp_path, CXX="clang++")
    assert name == "clang version 17.0.6 | Target: x86_64 | Thread model: posix"


@pytest.mark.parametrize("cxx", ["no-such-compiler", "", "/no/such/g++", "ccache g++"])
def test_a_missing_compiler_is_absent(tmp_path, cxx):
    assert identify(tmp_path, CXX=cxx) == "absent"


def test_a_folder_or_a_plain_file_is_no_compiler(tmp_path):
    (tmp_path / "a" / "g++").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "g++").write_text("not executable")
    environ = {"PATH": f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}"}
    assert _compiler.identify_compiler(environ, hostname="runner-1") == "absent"


def test_a_compiler_that_hangs_is_unknown_and_is_ended_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(_compiler, "TIMEOUT_SECONDS", 0.3)
    trace = tmp_path / "alive"
    write_program(tmp_path / "g++", f"(sleep 1.5; touch {trace}) & wait")
    started = time.monotonic()
    assert identify(tmp_path) == "unknown compiler g++ on runner-1: no answer in 0.3 s"
    assert time.monotonic() - started < 1.4
    time.sleep(1.6)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "--version failed with status 3"),
        ("true", "--version says nothing"),
        ("kill -9 $$", "--version failed with status -9"),
    ],
)
def test_a_compiler_that_does_not_answer_is_unknown(tmp_path, script, reason):
    write_program(tmp_path / "g++", script)
    assert identify(tmp_path) == f"unknown compiler g++ on runner-1: {reason}"


def test_a_file_that_cannot_be_run_is_unknown(tmp_path):
    write_compiler(tmp_path).write_bytes(b"\x7fELF and then nothing of use")
    assert identify(tmp_path).startswith("unknown compiler g++ on runner-1: Exec format error")


def test_a_compiler_that_torch_would_install_itself_is_unknown(tmp_path):
    write_compiler(tmp_path)
    assert "conda" in identify(tmp_path, TORCH_INDUCTOR_INSTALL_GXX="1")


def test_the_language_of_the_user_does_not_change_the_compiler(tmp_path):
    write_program(tmp_path / "g++", 'echo "g++ in $LC_ALL"')
    assert identify(tmp_path, LC_ALL="de_DE.UTF-8") == "g++ in C"


# --- the memo of compilers --------------------------------------------------


class Asked:
    """Stands for running compilers, and counts."""

    def __init__(self):
        self.times = 0
        self.version = GCC_12

    def __call__(self, _program, _environ):
        self.times += 1
        return self.version


@pytest.fixture
def asked(monkeypatch):
    asked = Asked()
    monkeypatch.setattr(_compiler, "_version", asked)
    return asked


@pytest.fixture
def gcc(tmp_path):
    program = write_compiler(tmp_path / "bin")
    program.write_bytes(b"\x7fELF" + b"\0" * 100 + b"%(cc1_options)")
    return program


@pytest.fixture
def memo(tmp_path):
    return tmp_path / "compilers.json"


def test_gcc_is_asked_once(asked, gcc, memo):
    first = identify(gcc.parent, memo)
    assert identify(gcc.parent, memo) == first
    assert asked.times == 1
    assert [path.name for path in memo.parent.iterdir() if path.is_file()] == [memo.name]


def test_gcc_is_asked_each_time_without_a_memo(asked, gcc):
    identify(gcc.parent)
    identify(gcc.parent)
    assert asked.times == 2


def test_an_upgraded_gcc_is_asked_again(asked, gcc, memo):
    identify(gcc.parent, memo)
    gcc.write_bytes(gcc.read_bytes() + b"newer")
    asked.version = GCC_12.replace("12.2.0", "13.3.0")
    assert "13.3.0" in identify(gcc.parent, memo)


def test_a_gcc_replaced_by_one_of_equal_size_and_time_is_asked_again(asked, gcc, memo):
    identify(gcc.parent, memo)
    before = gcc.stat()
    time.sleep(0.02)  # longer than a tick of the file system's clock
    gcc.write_bytes(gcc.read_bytes())
    os.utime(gcc, ns=(before.st_atime_ns, before.st_mtime_ns))
    identify(gcc.parent, memo)
    assert asked.times == 2


def test_a_gcc_replaced_while_it_was_asked_is_not_remembered(asked, gcc, memo, monkeypatch):
    def upgraded_meanwhile(program, environ):
        gcc.write_bytes(gcc.read_bytes() + b"newer")
        return asked(program, environ)

    monkeypatch.setattr(_compiler, "_version", upgraded_meanwhile)
    identify(gcc.parent, memo)
    assert not memo.exists()


def test_a_wrapper_script_is_asked_each_time(tmp_path, memo):
    real = write_compiler(tmp_path / "real")
    write_program(tmp_path / "bin" / "g++", f'exec {real} "$@"')
    before = identify(tmp_path / "bin", memo)
    write_compiler(tmp_path / "real", GCC_12.replace("12.2.0", "13.3.0"))
    assert identify(tmp_path / "bin", memo) != before
    assert not memo.exists()


def test_a_wrapper_that_is_a_binary_is_asked_each_time(asked, gcc, memo):
    gcc.write_bytes(b"\x7fELF ccache, called g++")
    identify(gcc.parent, memo)
    identify(gcc.parent, memo)
    assert asked.times == 2
    assert not memo.exists()


def test_a_compiler_that_may_be_run_but_not_read_is_asked_each_time(asked, gcc, memo, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert identify(gcc.parent, memo) == identify(gcc.parent) == "g++ (Debian 12.2.0-14) 12.2.0"


def test_one_file_under_two_names_is_two_compilers(asked, gcc, memo):
    (gcc.parent / "gcc").symlink_to(gcc)
    identify(gcc.parent, memo)
    identify(gcc.parent, memo, CXX="gcc")
    assert asked.times == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"a": 7}',
        b'{"a": {"b": 1}}',
        b'{"a": "' + b"x" * 100_000 + b'"}',
    ],
    ids=range(9),
)
def test_a_torn_or_hostile_memo_is_ignored_and_replaced(asked, gcc, memo, content):
    memo.write_bytes(content)
    assert identify(gcc.parent, memo) == "g++ (Debian 12.2.0-14) 12.2.0"
    assert identify(gcc.parent, memo) == "g++ (Debian 12.2.0-14) 12.2.0"
    assert asked.times == 1
    json.loads(memo.read_bytes())


@pytest.mark.parametrize("answer", ["", "\x1b[2J", 7, None, "x" * 5000])
def test_a_remembered_answer_that_is_no_answer_is_ignored(asked, gcc, memo, answer):
    identify(gcc.parent, memo)
    memo.write_text(json.dumps(dict.fromkeys(json.loads(memo.read_bytes()), answer)))
    assert identify(gcc.parent, memo) == "g++ (Debian 12.2.0-14) 12.2.0"
    assert asked.times == 2


def test_a_pipe_in_the_place_of_the_memo_holds_nobody(asked, gcc, memo):
    os.mkfifo(memo)
    assert identify(gcc.parent, memo) == "g++ (Debian 12.2.0-14) 12.2.0"


def test_a_link_in_the_place_of_the_memo_is_not_followed(asked, gcc, memo, tmp_path):
    target = tmp_path / "target"
    target.write_text("{}")
    memo.symlink_to(target)
    identify(gcc.parent, memo)
    assert target.read_text() == "{}"
    assert not memo.is_symlink()


def test_a_memo_of_another_user_is_ignored(asked, gcc, memo, monkeypatch):
    identify(gcc.parent, memo)
    someone_else = os.geteuid() + 1
    monkeypatch.setattr(_compiler.os, "geteuid", lambda: someone_else)
    identify(gcc.parent, memo)
    assert asked.times == 2


def test_a_folder_in_the_place_of_the_memo_is_left_alone(asked, gcc, memo):
    memo.mkdir()
    identify(gcc.parent, memo)
    assert memo.is_dir()
    assert sorted(path.name for path in memo.parent.iterdir()) == ["bin", memo.name]


def test_a_memo_that_cannot_be_written_costs_nothing(asked, gcc, tmp_path):
    nowhere = tmp_path / "no such folder" / "compilers.json"
    assert identify(gcc.parent, nowhere) == "g++ (Debian 12.2.0-14) 12.2.0"
    assert not nowhere.parent.exists()


def test_the_memo_does_not_grow_for_ever(asked, gcc, memo):
    for number in range(40):
        gcc.write_bytes(b"\x7fELF%(cc1_options)" + b"x" * number)
        identify(gcc.parent, memo)
    assert len(json.loads(memo.read_bytes())) == 16


def test_an_unknown_compiler_is_not_remembered(gcc, memo):
    assert identify(gcc.parent, memo).startswith("unknown compiler")
    assert not memo.exists()


# --- this machine -----------------------------------------------------------


def run_python(script: str, *, cwd: Path, **variables: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        check=True,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **variables},
    )
    assert result.stderr == ""
    return result.stdout.strip()


PRINT_ID = """
        from pytest_compilecache.environment import detect_environment
        print(detect_environment().id)
"""


def test_detecting_loads_neither_torch_nor_triton_nor_pytest(tmp_path):
    script = """
        import sys
        from pytest_compilecache.environment import detect_environment
        imported = {"subprocess", "platformdirs"} & set(sys.modules)
        detect_environment()
        print({"torch", "triton", "pytest", "platformdirs"} & set(sys.modules), imported)
    """
    assert run_python(script, cwd=tmp_path) == "set() set()"


def test_who_runs_it_and_where_changes_nothing(tmp_path):
    here = run_python(PRINT_ID, cwd=tmp_path, PYTHONHASHSEED="1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    users = {"HOME": str(elsewhere), "USER": "ann", "LOGNAME": "ann", "TMPDIR": str(elsewhere)}
    there = run_python(PRINT_ID, cwd=elsewhere, PYTHONHASHSEED="2", OMP_NUM_THREADS="1", **users)
    assert here == there
    one_core = next(iter(os.sched_getaffinity(0)))
    after_torch = f"""
        import os
        os.sched_setaffinity(0, [{one_core}])
        import torch
        {PRINT_ID.strip()}
    """
    assert run_python(after_torch, cwd=tmp_path) == here


def test_the_installed_torch_is_read_as_it_reports_itself():
    torch = pytest.importorskip("torch")
    fields = detect_environment().fields
    assert fields["torch"] == torch.__version__
    assert fields["torch_git"] == torch.version.git_version
    assert fields["torch_cuda"] == (torch.version.cuda or "none")
    assert fields["torch_library"].startswith("libtorch_cpu")


def test_a_stub_of_torch_without_a_spec_is_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", type(sys)("torch"))
    assert Host().package_folder("torch") is None


def test_a_folder_that_only_looks_like_torch_is_no_torch(tmp_path, monkeypatch):
    (tmp_path / "torchlike").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert Host().package_folder("torchlike") is None


def test_the_real_compiler_is_remembered_only_if_it_is_gcc_itself(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    memo = tmp_path / "compilers.json"
    fresh = detect_environment(compiler_memo=memo)
    assert fresh == detect_environment(compiler_memo=memo) == detect_environment()
    is_binary = Path(shutil.which("g++")).resolve().read_bytes()[:4] == b"\x7fELF"
    assert memo.exists() == (is_binary and "Free Software" in gcc_says())


def gcc_says() -> str:
    return subprocess.run(["g++", "--version"], check=True, capture_output=True, text=True).stdout


def test_the_c_library_is_named_with_its_version():
    libc = Host().libc()
    assert libc.split()[0] in {"glibc", "musl", "darwin"}
    assert libc.split()[1]


def test_musl_is_told_by_the_content_of_its_only_file(tmp_path, monkeypatch):
    def refuse(_name):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(_host.os, "confstr", refuse)
    monkeypatch.setattr(_host, "_LOADERS", tmp_path)
    assert Host().libc() == f"unknown on {os.uname().nodename}"
    (tmp_path / "ld-musl-x86_64.so.1").write_bytes(b"musl 1.2.4")
    older = Host().libc()
    (tmp_path / "ld-musl-x86_64.so.1").write_bytes(b"musl 1.2.5")
    assert older.startswith("musl ")
    assert older != Host().libc()


def test_only_the_first_processor_is_read(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    first = "".join(f"{name}\t: {value}\n" for name, value in ICE_LAKE.items())
    cpuinfo.write_text(f"{first}\nmodel\t: 1\n" + "flags\t: " + "x" * 10**6)
    monkeypatch.setattr(_processor, "_CPUINFO", cpuinfo)
    assert _processor.read_processor() == ICE_LAKE


def test_the_length_of_scalable_vectors_is_read_where_there_are_any(tmp_path, monkeypatch):
    cpuinfo, length = tmp_path / "cpuinfo", tmp_path / "length"
    cpuinfo.write_text("".join(f"{name}\t: {value}\n" for name, value in GRAVITON_3.items()))
    monkeypatch.setattr(_processor, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(_processor, "_SVE_LENGTH", length)
    assert _processor.read_processor()["SVE length"] == "unknown"
    length.write_text("16\n")
    assert _processor.read_processor()["SVE length"] == "16"


def test_a_kernel_that_tells_nothing_gives_no_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(_processor, "_CPUINFO", tmp_path / "missing")
    assert _processor.read_processor() == {}
