"""``gls landscape``: the loss around the weights."""
