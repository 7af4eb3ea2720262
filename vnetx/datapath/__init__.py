"""The data plane as user space has it: compiled programs, pins, tables.

The only package that imports bcc, and that only when nothing compiled is in
the cache.
"""
