# %% [markdown]
# # When did the rate change? Metropolis and Gibbs by hand
# %%
import math
import random

import matplotlib.pyplot as plt
import pandas as pd
# %%
truth = {"early": 3.1, "late": 1.2, "year": 41}
source = random.Random(1851)


def poisson(rate, rnd):
    limit, product, count = math.exp(-rate), rnd.random(), 0
    while product > limit:
        product *= rnd.random()
        count += 1
    return count


counts = [poisson(truth["early"] if year < truth["year"] else truth["late"], source) for year in range(112)]
counts[:20]
# %%
plt.bar(range(len(counts)), counts)
plt.xlabel("year")
plt.ylabel("accidents");
# %%
prefix = [0]
for count in counts:
    prefix.append(prefix[-1] + count)


def log_likelihood(year, early, late):
    a, b = prefix[year], prefix[-1] - prefix[year]
    return a * math.log(early) - year * early + b * math.log(late) - (len(counts) - year) * late


log_likelihood(41, 3.0, 1.0)
# %% [markdown]
# ## A sampler as a class, a chain as an object
# %%
class Metropolis:
    def __init__(self, seed, step=0.25):
        self.rnd = random.Random(seed)
        self.step = step
        self.state = (len(counts) // 2, 2.0, 2.0)
        self.score = log_likelihood(*self.state)
        self.accepted = 0
        self.trace = []

    def propose(self):
        year, early, late = self.state
        year = min(max(1, year + self.rnd.choice((-3, -2, -1, 0, 1, 2, 3))), len(counts) - 1)
        return year, early * math.exp(self.rnd.gauss(0, self.step)), late * math.exp(self.rnd.gauss(0, self.step))

    def run(self, steps):
        for _ in range(steps):
            candidate = self.propose()
            score = log_likelihood(*candidate) - candidate[1] - candidate[2]
            score += math.log(candidate[1]) + math.log(candidate[2])
            if math.log(self.rnd.random()) < score - self.score:
                self.state, self.score = candidate, score
                self.accepted += 1
            self.trace.append(self.state)
        return self
# %%
STEPS, BURN = 150_000, 10_000
first = Metropolis(seed=1).run(STEPS)
first.accepted / STEPS
# %%
second = Metropolis(seed=2).run(STEPS)
second.accepted / STEPS
# %%
def gibbs(steps, seed):
    rnd = random.Random(seed)
    year, rows = 50, []
    for _ in range(steps):
        early = rnd.gammavariate(prefix[year] + 2, 1 / (year + 1))
        late = rnd.gammavariate(prefix[-1] - prefix[year] + 2, 1 / (len(counts) - year + 1))
        weights = [math.exp(log_likelihood(k, early, late) + 170) for k in range(1, len(counts))]
        year = rnd.choices(range(1, len(counts)), weights)[0]
        rows.append((year, early, late))
    return rows


third = gibbs(6_000, seed=3)
third[-1]
# %%
chains = {"metropolis 1": first.trace[BURN::20], "metropolis 2": second.trace[BURN::20], "gibbs": third[500:]}
draws = pd.concat(
    {name: pd.DataFrame(rows, columns=["year", "early", "late"]) for name, rows in chains.items()},
    names=["chain", "draw"],
)
draws.groupby("chain").agg(["mean", "std"]).round(2)
# %%
def shrink(column):
    groups = [g[column].to_numpy() for _, g in draws.groupby("chain")]
    n = min(map(len, groups))
    groups = [g[:n] for g in groups]
    means = [g.mean() for g in groups]
    grand = sum(means) / len(means)
    between = n * sum((m - grand) ** 2 for m in means) / (len(means) - 1)
    within = sum(g.var(ddof=1) for g in groups) / len(groups)
    return math.sqrt(((n - 1) / n * within + between / n) / within)


{column: round(shrink(column), 3) for column in draws.columns}
# %%
fig, axes = plt.subplots(1, 3, figsize=(9, 2.5))
for ax, column in zip(axes, draws.columns):
    for name, group in draws.groupby("chain"):
        ax.hist(group[column], bins=30, histtype="step", density=True, label=name)
    ax.axvline(truth[column], color="k")
    ax.set_title(column)
axes[0].legend(fontsize=6)
plt.show()
# %%
year = draws["year"].mode()[0]
low, high = draws["year"].quantile([0.025, 0.975])
print(f"the rate changed in year {year} (95 %: {low:.0f} to {high:.0f}); it was {truth['year']}")
