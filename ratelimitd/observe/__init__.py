"""Logs, metrics and what the event loop is doing."""
