"""Names of the accuracies by which certified training measures a network."""

ACCURACIES = ("natural", "certified", "adversarial")
"""The accuracies, each a fraction of all images."""
ACCURACY_METRICS = tuple(f"{name}_accuracy" for name in ACCURACIES)
"""Their names in logs and files, behind the name of what they are of: ``val/certified_accuracy``."""
