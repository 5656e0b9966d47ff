"""A smaller model out of a larger one: what can be cut, what it is worth, what it costs in time."""
