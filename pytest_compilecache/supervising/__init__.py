"""The cache for commands that know nothing of it: what stands around them, or beside them.

It starts and ends processes, and never prints, reads the command line or imports torch.
"""
