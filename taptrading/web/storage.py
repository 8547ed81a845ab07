"""Static files under names that tell their content, so that browsers may keep them for ever."""

from collections.abc import Iterable, Iterator
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):
    """Modules that import modules included. Where nothing was collected yet (in tests, say), a
    file goes by its plain name.

    Only what a trader loads is compressed ahead: doing it to the documentation's megabytes would
    hold up the first start for most of a minute.
    """

    support_js_module_import_aggregation = True
    manifest_strict = False

    def stored_name(self, name: str) -> Any:
        return super().stored_name(name) if self.hashed_files else name

    def compress_files(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        yield from super().compress_files(path for path in paths if path.startswith("trader/"))
