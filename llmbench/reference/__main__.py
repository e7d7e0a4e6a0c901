"""`python -m llmbench.reference FOLDER` writes the generated pages into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from llmbench.reference.pages import write_pages

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m llmbench.reference FOLDER")
    sys.stdout.write("".join(f"{path}\n" for path in write_pages(Path(sys.argv[1]))))
