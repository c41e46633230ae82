"""``stepcoder plan``: what a recipe needs of a machine that is not here."""
