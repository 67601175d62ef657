"""pytest-compilecache: torch.compile test suites that start warm and tell the truth."""
