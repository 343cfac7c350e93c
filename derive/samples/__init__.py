"""How is an estimator of S samples stated and judged, S a symbol? Means over the samples, and what they are in the mean."""
