"""The results of runs: their folders, the Parquet tables that a run writes, and everything that reads them."""
