"""The HTML report: one page with figures and tables about one run or a folder of runs.

gather.py and timeline.py read results through pruner/results/query.py, the figures draw on canvas.py, page.py and payload.py write
the page and its parts. The page needs no network. Nothing here reads a checkpoint or changes a run.
"""
