if __name__ != "lsdjax.pallas":
    raise ImportError("import lsdjax.pallas, not pallas")
