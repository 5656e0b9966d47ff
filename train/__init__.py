if __name__ != "lsdjax.train":
    raise ImportError("import lsdjax.train, not train")
