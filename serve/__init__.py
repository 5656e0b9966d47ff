if __name__ != "lsdjax.serve":
    raise ImportError("import lsdjax.serve, not serve")
