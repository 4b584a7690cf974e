"""Parsing of configuration: YAML and its readers, scalar values of settings, flags and files, and their errors."""
