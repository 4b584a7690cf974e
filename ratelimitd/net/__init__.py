"""Sockets, TLS files and files that are replaced at run time, shared by all listeners and clients."""
