"""A certificate authority of the tests' own, as the file of a stack's `agentCaFile`."""

from pathlib import Path

AUTHORITY_FILE = Path(__file__).with_name("authority.pem")
AUTHORITY = AUTHORITY_FILE.read_text()
