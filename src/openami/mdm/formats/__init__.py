"""Exchange formats: NEM12, NEM13, Green Button ESPI, and CSV or Parquet with a declared mapping."""
