"""Commands that need no model: each a module of its name with ``run(words)``, which imports no PyTorch."""
