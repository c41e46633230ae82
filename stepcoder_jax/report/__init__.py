"""A run directory as one self-contained HTML page."""

from stepcoder_jax.report.page import write_report
from stepcoder_jax.report.run_log import ReportError

__all__ = ["ReportError", "write_report"]
