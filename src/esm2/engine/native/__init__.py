"""A small C++ library for the CPU: attention, linear layers, norms; loaded by ctypes.

The torch path beside it is the reference that its tests compare with. Read `forward.h` first.
"""
