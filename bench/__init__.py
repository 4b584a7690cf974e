"""The benchmarks of ``make bench``: repeatable measurements, written as tables, JSON and charts."""
