"""Sockets, TLS files and files that may be swapped: what every listener and client of the process shares."""
