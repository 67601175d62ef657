import os
import sys

AT_START = dict(os.environ)
FINDERS = [type(finder) for finder in sys.meta_path]
