"""``python -m gls_lightning``, which is ``gls``."""

import sys

if not sys.flags.safe_path:  # python -m puts the working directory first, where it would shadow what is installed
    sys.path.append(sys.path.pop(0))

from gls_lightning.main import main

if __name__ == "__main__":
    main()
