"""The compiled code of taptrading/native, for tests that compare it with the Python way."""

import importlib.util
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from taptrading import native
from taptrading.native import build


@cache
def fast() -> Any:
    """What the platform uses; where nothing was set up, made for the tests alone."""
    if native.fast is not None:
        return native.fast
    folder = Path(tempfile.mkdtemp(prefix="tap-native-"))
    build.compile_to(folder / "_fast.so")
    spec = importlib.util.spec_from_file_location("taptrading.native._fast", folder / "_fast.so")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
