"""The records that everything exchanges: problems, traces, segments, verdicts, and the rows and schemas of the results. No behaviour beyond their own arithmetic."""
