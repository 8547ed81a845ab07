"""What every app shares: settings, bounds, errors, money, time, and the wiring of the processes.

The interpreter's own SQLite may carry the WAL-reset bug (3.7.0 to 3.51.2), which can lose
committed writes, so the fixed library takes its name before anything imports it.
"""

import sys

try:
    import pysqlite3
except ImportError:  # no wheel for this machine: the start-up check decides whether that is safe
    pass
else:
    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2
