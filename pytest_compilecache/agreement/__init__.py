"""Whether compiled code computes what eager computes: values, gradients and state.

It works without the cache and without pytest, and leaves models, arguments and random
generators as it found them.
"""

from pytest_compilecache.agreement.matching import assert_matches_eager, drawing_as_eager

__all__ = ["assert_matches_eager", "drawing_as_eager"]
