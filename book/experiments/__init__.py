"""The book's experiments: grids of cells, the runner that fills tables, and the command line."""

from .cells import Cell
from .figures import EXPERIMENTS
from .runner import read_table, run

__all__ = ["EXPERIMENTS", "Cell", "read_table", "run"]
