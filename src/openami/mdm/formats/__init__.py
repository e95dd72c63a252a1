"""Exchange formats: NEM12, NEM13, Green Button ESPI, and CSV or Parquet with a declared mapping."""

from openami.mdm.formats.diagnostics import Diagnostic, ImportResult, Policy, Severity
from openami.mdm.formats.mapping import Mapping
from openami.mdm.formats.recognition import read_file

__all__ = ["Diagnostic", "ImportResult", "Mapping", "Policy", "Severity", "read_file"]
