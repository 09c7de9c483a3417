"""From the flow graph of a notebook to its Plan, and the plan in words and pictures."""

from .build import plan
from .cost import Costs

__all__ = ["Costs", "plan"]
