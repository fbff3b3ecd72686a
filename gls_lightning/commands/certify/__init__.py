"""``gls certify``: whether each test image's whole box is classified correctly."""
