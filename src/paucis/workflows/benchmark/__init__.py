"""The benchmark grid: methods x label budgets x seeds (x folds) on one dataset, resumable, as tables and a picture.

``running.benchmark`` does it, ``estimate.estimate`` tells what it will take, ``suite.find`` reads what is to be done.
Nothing is imported here: each run is a process that needs a part of this only.
"""
