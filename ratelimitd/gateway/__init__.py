"""Without Envoy: one file that says who is asked and what is limited, for a reverse proxy and for Envoy alike."""
