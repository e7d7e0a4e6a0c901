"""An older config folder -> configs/: read, planned, written, and proved to keep every route.

Nothing is dropped silently: what cannot be carried is a Loss with its file, key, value and reason.
"""

from llmbench.migration.move import migrate, prove_folder
from llmbench.migration.values import Asked, Change, Difference, Hidden, Loss, Migration, Move

__all__ = ["Asked", "Change", "Difference", "Hidden", "Loss", "Migration", "Move", "migrate", "prove_folder"]
