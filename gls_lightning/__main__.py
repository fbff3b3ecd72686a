"""``python -m gls_lightning``, which is ``gls``."""

from gls_lightning.main import main

if __name__ == "__main__":
    main()
