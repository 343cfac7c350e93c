// An oracle read in JavaScript: mean and variance of an estimator, over every outcome of its draws, as exact fractions.
//
//     gradproof oracle docs/examples/problem.json -o oracle.json
//     node docs/examples/oracle.mjs oracle.json leave-one-out

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

// Fractions of BigInt: "exact" is one as text

export function fraction(text) {
  const [top, bottom = "1"] = text.split("/");
  return reduced(BigInt(top), BigInt(bottom));
}

function reduced(top, bottom) {
  let [a, b] = [top < 0n ? -top : top, bottom];
  while (b) [a, b] = [b, a % b];
  return { top: top / a, bottom: bottom / a };
}

const plus = (x, y) => reduced(x.top * y.bottom + y.top * x.bottom, x.bottom * y.bottom);
const times = (x, y) => reduced(x.top * y.top, x.bottom * y.bottom);
const minus = (x, y) => plus(x, times(fraction("-1"), y));
const over = (x, n) => times(x, reduced(1n, BigInt(n)));
const total = (values) => values.reduce(plus, fraction("0"));
const shown = (x) => (x.bottom === 1n ? `${x.top}` : `${x.top}/${x.bottom}`);

// Estimators: from the values of f and the scores of K samples to one number

export const estimators = {
  "score-function": (f, score) => over(total(f.map((value, k) => times(value, score[k]))), f.length),
  "leave-one-out": (f, score) => {
    const others = f.map((value) => over(minus(total(f), value), f.length - 1));
    return over(total(f.map((value, k) => times(minus(value, others[k]), score[k]))), f.length);
  },
  // A mistake: a sample is in its own baseline, and the mean is (K - 1) / K of the gradient
  "group-mean": (f, score) => {
    const mean = over(total(f), f.length);
    return over(total(f.map((value, k) => times(minus(value, mean), score[k]))), f.length);
  },
};

// The scores of the outcomes along the logit of outcome i: [b = i] - p(i)

function scores(oracle, parameter) {
  const { law, objective } = oracle.problem;
  if (law.family === "product" || objective === "bound") throw new Error("this example is for E[f(b)] of one variable");
  const i = law.family === "bernoulli" ? 1 : Number(parameter.split("_")[1]);
  const p = oracle.outcomes.map((outcome) => fraction(outcome.probability.exact));
  return p.map((_, b) => minus(fraction(b === i ? "1" : "0"), p[i]));
}

export function moments(oracle, parameter, estimate) {
  const p = oracle.outcomes.map((outcome) => fraction(outcome.probability.exact));
  const f = oracle.outcomes.map((outcome) => fraction(outcome.f.exact));
  const score = scores(oracle, parameter);
  let [mean, square] = [fraction("0"), fraction("0")];
  for (let draw = 0; draw < p.length ** oracle.problem.samples; draw++) {
    const b = Array.from({ length: oracle.problem.samples }, (_, k) => Math.floor(draw / p.length ** k) % p.length);
    const weight = b.map((k) => p[k]).reduce(times);
    const g = estimate(b.map((k) => f[k]), b.map((k) => score[k]));
    mean = plus(mean, times(weight, g));
    square = plus(square, times(weight, times(g, g)));
  }
  return { mean, variance: minus(square, times(mean, mean)) };
}

// What is wrong, a line each: the mean against the gradient, and where the oracle has the estimator its variance too

export function wrong(oracle, name, estimate = estimators[name]) {
  if (!estimate) throw new Error(`no estimator is called ${name}; there are ${Object.keys(estimators).join(", ")}`);
  const entry = oracle.estimators.find((one) => one.name === name);
  return oracle.parameters.flatMap((parameter, at) => {
    const { mean, variance } = moments(oracle, parameter, estimate);
    const rows = [["mean", mean, oracle.gradient[at]]];
    if (entry) rows.push(["variance", variance, entry.coordinates[at].variance]);
    return rows
      .filter(([, found, stated]) => shown(found) !== stated.exact)
      .map(([what, found, stated]) => `${parameter}: ${what} ${shown(found)}, expected ${stated.exact} = ${stated.decimal}`);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [file, name] = process.argv.slice(2);
  const found = wrong(JSON.parse(readFileSync(file, "utf8")), name);
  console.log([`${name}: ${found.length ? "wrong" : "right"}`, ...found].join("\n"));
  process.exitCode = found.length ? 1 : 0;
}
