"""The seams in torch: one file for each, the only places that touch its private names.

A name that a version of torch lacks costs a number or a protection, never a test.
Nothing here imports torch by itself: a part of torch that is not loaded was not used.
"""
