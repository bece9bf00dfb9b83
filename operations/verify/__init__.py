"""Whether a running cluster is what the roster states. One file an area."""
