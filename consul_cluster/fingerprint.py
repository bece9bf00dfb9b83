"""Names a secret, or a large value, without disclosing it."""

import hashlib


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a text. Of a random key it tells nothing; a word could be guessed by it."""
    return hashlib.sha256(text.encode()).hexdigest()
