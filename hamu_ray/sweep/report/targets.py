"""What a report is asked for: sweeps' folders, experiments, or sweeps by name."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hamu_ray.config.files import ConfigError, load_sweep
from hamu_ray.config.run import DEFAULT_STORAGE
from hamu_ray.engine.files import DEFAULT_LOCAL
from hamu_ray.sweep import stores
from hamu_ray.sweep.archive import Archive, ArchivedSweep
from hamu_ray.sweep.journal import Courier, Delivery
from hamu_ray.sweep.progress import shown
from hamu_ray.sweep.records import read_records
from hamu_ray.sweep.report.make import leave_report, write_report
from hamu_ray.sweep.result import print_result, summary_of, write_files
from hamu_ray.sweep.tracking import Tracking

SWEEP_FILE = "sweep.yaml"
REPORTS = "reports"
NAMED = 12
"""Names that a message lists, at most."""
