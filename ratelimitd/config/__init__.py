"""From text to values: YAML with its places, the scalars of settings, flags and files, and what is wrong with them."""
