"""The HTML report: one page with figures and tables about one run or a folder of runs."""
