"""The live health of a roster's services."""
