"""What `make bench` runs: measurements anyone can repeat, as tables, JSON and pictures."""
