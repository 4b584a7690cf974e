"""Servers, proxies, certificates and processes that tests and benches share; neither of these imports the other."""
