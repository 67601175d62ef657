"""What would slow down, break or endanger the cache on a machine: the checks of ``doctor``.

They import neither pytest nor torch (torch is asked in another process), leave nothing
behind, and end: one that hangs, as on a mount whose server has gone, is a finding.
"""
