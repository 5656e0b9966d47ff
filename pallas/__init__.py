"""Kernels of the DiT block, their contracts, and what chooses between them."""

if __name__ != "lsdjax.pallas":
    raise ImportError("import lsdjax.pallas, not pallas")
