"""The health of the services as it changes."""
