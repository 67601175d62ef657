import os
import tempfile
from pathlib import Path

MINE = Path(tempfile.gettempdir()) / "theirs"
os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(MINE)

import torch  # noqa: E402, F401
