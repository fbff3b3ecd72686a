"""Private keys that Lightning writes into checkpoints, among the hyperparameters."""

CLASS_PATH = "_class_path"
"""Key of the class whose arguments the hyperparameters are, where a subclass may stand for another."""

INSTANTIATOR = "_instantiator"
"""Key of the function that makes the object from the hyperparameters."""
