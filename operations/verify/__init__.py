"""Whether a running cluster is what the roster says (guide, "Verification & Testing")."""
