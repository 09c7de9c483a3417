"""From the flow graph of a notebook to its Plan, and the plan in words (`explain`) and pictures (`drawing`, `page`)."""

from . import drawing, page
from .build import plan
from .cost import Costs
from .explain import explain

__all__ = ["Costs", "drawing", "explain", "page", "plan"]
