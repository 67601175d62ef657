"""The live directories that torch reads and writes: their place, their files, their health.

It never removes what another process may be using, and moves aside only what is provably torn.
"""
