"""Every key that a reader of ``ratelimitd.config.readers`` knows."""


def key_paths(reader, above=()):
    """Yield each key with the keys above it; lists, and maps of any names, have none of their own."""
    for key, inner in getattr(reader, "keys", {}).items():
        yield (*above, key)
        yield from key_paths(inner, (*above, key))
    item = getattr(reader, "item", None)
    if item is not None:
        yield from key_paths(item, above)
