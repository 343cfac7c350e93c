"""The audit of five public notes on gradient estimators: every equation and every claim, with a check behind each verdict.

One file a note holds its statements, encoded by hand; `pages` runs the checks and writes what they came to.
"""
