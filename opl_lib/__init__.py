"""Learn two-tower recommendation policies from logged bandit feedback.

Public names are loaded on first use, so that ``import opl_lib`` stays cheap.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
