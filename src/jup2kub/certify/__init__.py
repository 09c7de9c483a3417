"""Certificates: whether a planned execution gives what sequential ones give. Pure: no files, no clock."""

from .compare import compare
from .model import CellReport, Certificate, Comparison, Execution
from .page import html

__all__ = ["CellReport", "Certificate", "Comparison", "Execution", "compare", "html"]
