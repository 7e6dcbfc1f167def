"""Where sessions and revocations live: the protocol, and a backend for each database."""
