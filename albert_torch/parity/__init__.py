"""The parity check: load a checkpoint in transformers and here, and compare every number.

`check` runs the comparison and returns a `Report`, which the module `report` renders as a table for
the terminal or as JSON, and the module `html` as a page. transformers is imported when a check
starts, not before.

    from albert_torch import parity

    report = parity.check("albert-torch/nano", parity.ParityOptions(dtypes=["float64"]))
    print(report.equal)
"""

from albert_torch.parity.check import check
from albert_torch.parity.compare import Measurement, Quantity
from albert_torch.parity.options import ParityOptions
from albert_torch.parity.report import Case, Report

__all__ = ["Case", "Measurement", "ParityOptions", "Quantity", "Report", "check"]
