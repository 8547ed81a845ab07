"""Does the database add up? Named checks over everything that money touches.

`verify` runs them; each looks at one consistent snapshot, reads only, and hands back what it
found. A clean database has no findings. `CLAIMS` says what must hold.
"""

from ops.integrity.checks import CLAIMS
from ops.integrity.findings import Finding, Report
from ops.integrity.verify import verify

__all__ = ["CLAIMS", "Finding", "Report", "verify"]
