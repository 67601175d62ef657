import os

os.environ["OF_THE_CONFTEST"] = "1"

import torch  # noqa: E402, F401
