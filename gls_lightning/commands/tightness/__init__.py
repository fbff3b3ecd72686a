"""``gls tightness``: certified accuracy over the radius for several relaxations."""
