"""``stepcoder data build``: raw rows in, problems that can be trusted out."""
