"""Servers, proxies, certificates and processes that tests and bench share; they do not import each other."""
