"""The fault laboratory: a running nyxcore of its own is brought to a named moment, then something is done to it.

`make faults` runs every cell once, `make faults N=100 SEED=7` random ones. See docs/operations.md.
"""
