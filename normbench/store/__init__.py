"""Run folders, shared by all studies, and the tables that they make."""

from normbench.store.axes import axis_columns
from normbench.store.files import make_folder, remove_leftovers, unwritable, write_atomically
from normbench.store.folder import STATES, Progress, RunFolder, State, place_of
from normbench.store.result import LAYOUT
from normbench.store.store import Store, open_store

__all__ = [
    "LAYOUT",
    "STATES",
    "Progress",
    "RunFolder",
    "State",
    "Store",
    "axis_columns",
    "make_folder",
    "open_store",
    "place_of",
    "remove_leftovers",
    "unwritable",
    "write_atomically",
]
