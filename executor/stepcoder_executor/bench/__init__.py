"""How fast the executor is on this machine, beside the limit that a bare fork sets."""
