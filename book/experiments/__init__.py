"""The book's experiments: grids of cells, the runner that fills tables, and the command line.

The notebooks lie beside this folder and import it by its name; so do the tests and the benchmarks.
"""

from .cells import Cell
from .figures import EXPERIMENTS
from .runner import run
from .tables import read_table

__all__ = ["EXPERIMENTS", "Cell", "read_table", "run"]
