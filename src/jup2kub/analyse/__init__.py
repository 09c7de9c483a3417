"""From a notebook to the cells' reads and writes, and the edges that truly order them."""

from jup2kub.analyse.flow import analyse
from jup2kub.analyse.keys import profile_keys

__all__ = ["analyse", "profile_keys"]
