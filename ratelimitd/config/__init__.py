"""From text to values: YAML and its readers, the scalars of settings, flags and files, and what is wrong with them."""
