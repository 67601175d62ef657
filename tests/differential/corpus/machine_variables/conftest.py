import os
import shutil

os.environ["ATEN_CPU_CAPABILITY"] = "default"
os.environ["CXX"] = shutil.which("g++")

import torch  # noqa: E402, F401
