import os

os.environ["TORCH_COMPILE_DISABLE"] = "1"
