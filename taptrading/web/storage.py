"""The trader's files under names that tell their content, so that browsers keep them for ever."""

from collections.abc import Iterator
from typing import Any, Final

from whitenoise.storage import CompressedManifestStaticFilesStorage

_OURS: Final = "trader/"


class HashedFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Modules that import modules included; compressed ahead.

    Only what a trader loads: the megabytes of the documentation and the admin would hold up the
    first start for most of a minute. They, and whatever was not collected yet (in tests, say), go
    by their plain names.
    """

    support_js_module_import_aggregation = True

    def post_process(
        self, paths: dict[str, Any], dry_run: bool = False, **options: Any
    ) -> Iterator[Any]:
        ours = {name: found for name, found in paths.items() if name.startswith(_OURS)}
        yield from super().post_process(ours, dry_run, **options)

    def stored_name(self, name: str) -> str:
        found: str = self.hashed_files.get(self.hash_key(self.clean_name(name)), name)
        return found
