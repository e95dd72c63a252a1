"""Floor 4: meter data management. Stores, exchange formats, validation-estimation-editing, exceptions."""
