"""The reading store: append-only, versioned, durable, with the one Door."""

from openami.mdm.stores.durable_files import DurableFiles
from openami.mdm.stores.overlay import WITHDRAW
from openami.mdm.stores.store import ReadingStore

__all__ = ["WITHDRAW", "DurableFiles", "ReadingStore"]
