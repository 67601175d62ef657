"""``run`` and ``watch``: the cache around, or beside, commands that know nothing of it.

It starts and ends processes, and never prints, reads the command line or imports torch.
"""
