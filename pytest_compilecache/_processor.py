"""What a processor can run, told from what its kernel says of it.

Where the kernel does not tell, the machine's own name stands for its
processor, so that two machines are never taken for equal without proof.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CPUINFO = Path("/proc/cpuinfo")
_SVE_LENGTH = Path("/proc/sys/abi/sve_default_vector_length")
_PAGE = 4096
_MAX_BLOCK_BYTES = 64 * 1024

_FLAG_LINES = ("flags", "Features")

# Flags do not tell all that `-march=native` makes a compiler emit: it asks the
# CPUID instruction, and Linux never shows some of what that says (amx_fp16,
# avx_ifma, avx_vnni_int8), nor what is younger than the kernel. Granite Rapids
# and Emerald Rapids, say, read alike under Linux 6.1, and code of the first
# dies on the second. So the kind of processor counts, too. Stepping and
# microcode do not, nor do the cache sizes and the tuning that come with
# `-march=native`: they change how fast code is, not what it computes.
_KIND_LINES = (
    "vendor_id",
    "cpu family",
    "model",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "SVE length",  # Graviton 3 and 4 share code only by accident: 256 and 128 bits
)

# Flags of which no compiler makes an instruction of a user's program, and that
# differ between machines that run the same code: by kernel, microcode, boot
# options, hypervisor or firmware. A flag that is not sure to be one stays in.
_SPECULATION = """
    pti kaiser retpoline retpoline_amd rsb_ctxsw spec_ctrl ssbd ls_cfg_ssbd amd_ssbd virt_ssbd
    ibrs ibpb stibp stibp_always_on ibrs_enhanced intel_stibp md_clear flush_l1d
    arch_capabilities rtm_always_abort tsx_force_abort user_shstk ibt
"""
_VIRTUALISATION = """
    hypervisor vmx svm smx ept ept_ad vpid tpr_shadow vnmi flexpriority npt lbrv svm_lock
    nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pausefilter pfthreshold avic x2avic
    v_vmsave_vmload vgif v_spec_ctrl svme_addr_chk vmmcall xenpv tdx_guest tdx_host_platform
    sev sev_es sev_snp sme sme_coherent tme debug_swap skinit
"""
_CLOCKS = """
    constant_tsc nonstop_tsc nonstop_tsc_s3 tsc_reliable tsc_known_freq tsc_adjust
    tsc_deadline_timer art arat ptsc wdt evtstrm
"""
_TOPOLOGY_AND_PAGING = """
    ht up cpuid cpuid_fault xtopology topoext apic x2apic extapic extd_apicid amd_dcm cmp_legacy
    cr8_legacy nodeid_msr xtpr dca cid ss pcid invpcid invpcid_single smep smap umip la57
"""
_POWER = """
    acpi tm tm2 est ida dtherm pln pts epb hwp hwp_notify hwp_act_window hwp_epp hwp_pkg_req hfi
    aperfmperf cpb hw_pstate proc_feedback acc_power rapl cppc pbe
"""
_COUNTING_AND_QUOTAS = """
    arch_perfmon pebs bts dts dtes64 ds_cpl pdcm sdbg perfctr_core perfctr_nb perfctr_llc
    perfmon_v2 amd_lbr_v2 amd_lbr_pmc_freeze arch_lbr intel_pt ibs bpext cqm cqm_llc
    cqm_occup_llc cqm_mbm_total cqm_mbm_local rdt_a cat_l2 cat_l3 cdp_l2 cdp_l3 mba smba bmec abmc
    overflow_recov succor smca osvw intel_ppin amd_ppin split_lock_detect bus_lock_detect
"""
_KERNEL_MATTERS = _SPECULATION + _VIRTUALISATION + _CLOCKS + _TOPOLOGY_AND_PAGING + _POWER
_NOT_INSTRUCTIONS = frozenset((_KERNEL_MATTERS + _COUNTING_AND_QUOTAS).split())

# ATen's capability and the compiler's `-march`, pinned together, fix what is
# generated on every processor that has the flags. Only this pair is known to:
# under "avx512", torch still adds VNNI and AMX where it finds them.
_X86_64_V3 = """
    cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave
"""
_PINNED_BY = {("avx2", "x86-64-v3"): frozenset(_X86_64_V3.split())}

_LABELS = (  # the first whose flag is there names the environment for a reader
    ("amx_tile", "amx"),
    ("avx512f", "avx512"),
    ("avx2", "avx2"),
    ("sse2", "sse2"),
    ("sve2", "sve2"),
    ("sve", "sve"),
    ("asimd", "neon"),
)


def read_processor() -> dict[str, str]:
    """Reads what the kernel says of the first processor; nothing where it says nothing."""
    if sys.platform == "darwin":
        return {"Apple": _apple_brand()}
    lines = (line.partition(":") for line in _first_block().splitlines())
    processor = {name.strip(): value.strip() for name, colon, value in lines if colon}
    if "sve" in processor.get("Features", "").split():
        processor["SVE length"] = _sve_length()
    return processor


def processor_fields(
    processor: Mapping[str, str], *, machine: str, hostname: str
) -> dict[str, str]:
    """Names the processor and the instructions that it runs, for an environment.

    Args:
        processor: What `read_processor` found.
        machine: The machine's architecture, such as ``x86_64``.
        hostname: The machine's own name, used only where nothing else separates.
    """
    kind = ", ".join(f"{name} {processor[name]}" for name in _KIND_LINES if name in processor)
    flags = _instruction_flags(processor)
    if kind and flags:
        return {"cpu": kind, "cpu_flags": " ".join(flags)}
    if processor.get("Apple"):
        # torch passes no -march on macOS and knows one vector unit there, so
        # the brand separates more than enough.
        return {"cpu": processor["Apple"], "cpu_flags": f"unknown:{machine}"}
    model = processor.get("model name") or processor.get("cpu") or "unknown"
    return {"cpu": f"{model} on {hostname}", "cpu_flags": f"unknown:{machine}"}


def is_pinned(capability: str, march: str, flags: str) -> bool:
    """Tells whether two settings alone decide what is generated on a processor with these flags."""
    needed = _PINNED_BY.get((capability, march))
    return needed is not None and needed <= set(flags.split())


def vector_label(flags: str) -> str:
    """Names the widest vector unit among flags, for a reader."""
    present = set(flags.split())
    return next((label for flag, label in _LABELS if flag in present), "generic")


def _instruction_flags(processor: Mapping[str, str]) -> list[str]:
    line = next((processor[name] for name in _FLAG_LINES if processor.get(name)), "")
    return sorted(set(line.split()) - _NOT_INSTRUCTIONS)


def _first_block() -> str:
    # Unbuffered and by the page: the kernel makes this text as it is read, and
    # on 128 processors that is 300 KB of which the first block says it all.
    text = b""
    try:
        with _CPUINFO.open("rb", buffering=0) as cpuinfo:
            while b"\n\n" not in text and len(text) < _MAX_BLOCK_BYTES:
                page = cpuinfo.read(_PAGE)
                if not page:
                    break
                text += page
    except OSError:
        return ""
    return text.partition(b"\n\n")[0].decode("ascii", "replace")


def _sve_length() -> str:
    try:
        return _SVE_LENGTH.read_text("ascii").strip()
    except (OSError, ValueError):
        return "unknown"


def _apple_brand() -> str:
    import ctypes  # noqa: PLC0415  a millisecond that only macOS pays

    try:
        ask = ctypes.CDLL(None).sysctlbyname
        brand = ctypes.create_string_buffer(256)
        size = ctypes.c_size_t(len(brand))
        failed = ask(b"machdep.cpu.brand_string", brand, ctypes.byref(size), None, 0)
    except (OSError, AttributeError):
        return ""
    return "" if failed else brand.value.decode("utf-8", "replace")
