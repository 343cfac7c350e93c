# An oracle read in R: mean and variance of an estimator, over every outcome of its draws, in double precision.
#
#     gradproof oracle docs/examples/problem.json -o oracle.json
#     Rscript docs/examples/oracle.R oracle.json leave-one-out

TOLERANCE <- 1e-12 # of the difference, relative to 1 + |what is expected|

# Estimators: from the values of f and the scores of K samples to one number

estimators <- list(
  "score-function" = function(f, score) mean(f * score),
  "leave-one-out" = function(f, score) mean((f - (sum(f) - f) / (length(f) - 1)) * score),
  # A mistake: a sample is in its own baseline, and the mean is (K - 1) / K of the gradient
  "group-mean" = function(f, score) mean((f - mean(f)) * score)
)

# The scores of the outcomes along the logit of outcome i: [b = i] - p(i)

scores <- function(oracle, parameter, p) {
  family <- oracle$problem$law$family
  if (family == "product" || identical(oracle$problem$objective, "bound")) stop("this example is for E[f(b)] of one variable")
  i <- if (family == "bernoulli") 2 else as.integer(sub("logit_", "", parameter)) + 1
  (seq_along(p) == i) - p[i]
}

decimals <- function(values) vapply(values, function(value) value$decimal, numeric(1))

moments <- function(oracle, parameter, estimate) {
  p <- decimals(lapply(oracle$outcomes, function(outcome) outcome$probability))
  f <- decimals(lapply(oracle$outcomes, function(outcome) outcome$f))
  score <- scores(oracle, parameter, p)
  draws <- as.matrix(expand.grid(rep(list(seq_along(p)), oracle$problem$samples)))
  weight <- apply(draws, 1, function(b) prod(p[b]))
  g <- apply(draws, 1, function(b) estimate(f[b], score[b]))
  mean <- sum(weight * g)
  list(mean = mean, variance = sum(weight * (g - mean)^2))
}

# What is wrong, a line each: the mean against the gradient, and where the oracle has the estimator its variance too

wrong <- function(oracle, name, estimate = estimators[[name]]) {
  if (is.null(estimate)) stop("no estimator is called ", name, "; there are ", toString(names(estimators)))
  entry <- Filter(function(one) one$name == name, oracle$estimators)
  lines <- character()
  for (at in seq_along(oracle$parameters)) {
    parameter <- oracle$parameters[[at]]
    found <- moments(oracle, parameter, estimate)
    stated <- list(mean = oracle$gradient[[at]]$decimal)
    if (length(entry)) stated$variance <- entry[[1]]$coordinates[[at]]$variance$decimal
    for (what in names(stated)) {
      off <- abs(found[[what]] - stated[[what]]) > TOLERANCE * (1 + abs(stated[[what]]))
      if (is.na(off) || off) {
        lines <- c(lines, sprintf("%s: %s %.15g, expected %.15g", parameter, what, found[[what]], stated[[what]]))
      }
    }
  }
  lines
}

if (sys.nframe() == 0) {
  arguments <- commandArgs(trailingOnly = TRUE)
  oracle <- jsonlite::fromJSON(arguments[1], simplifyVector = FALSE)
  found <- wrong(oracle, arguments[2])
  writeLines(c(sprintf("%s: %s", arguments[2], if (length(found)) "wrong" else "right"), found))
  quit(status = if (length(found)) 1 else 0)
}
