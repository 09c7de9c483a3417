# %% [markdown]
# # Options by Monte Carlo
# Three options priced apart, in plain Python on purpose, then against the formula.
# %%
import math
import random
import statistics
import pandas as pd
import matplotlib.pyplot as plt
# %%
spot, rate, sigma, years = 100.0, 0.03, 0.25, 1.0
paths, steps = 60000, 50
# %%
def path(rnd, steps):
    s, dt = spot, years / steps
    drift, spread = (rate - sigma**2 / 2) * dt, sigma * math.sqrt(dt)
    values = []
    for _ in range(steps):
        s *= math.exp(drift + spread * rnd.gauss(0, 1))
        values.append(s)
    return values
# %%
def price(payoff, seed):
    rnd = random.Random(seed)
    discount = math.exp(-rate * years)
    results = [discount * payoff(path(rnd, steps)) for _ in range(paths)]
    return statistics.fmean(results), statistics.stdev(results) / math.sqrt(paths)
# %%
example = path(random.Random(0), steps)
plt.plot(example); plt.title("one path");
# %% [markdown]
# ## European call
# %%
european = price(lambda p: max(p[-1] - 105, 0), seed=1)
european
# %% [markdown]
# ## Asian call
# %%
asian = price(lambda p: max(sum(p) / len(p) - 105, 0), seed=2)
asian
# %% [markdown]
# ## Barrier call
# %%
barrier = price(lambda p: max(p[-1] - 105, 0) if max(p) < 140 else 0.0, seed=3)
barrier
# %% [markdown]
# ## Against the formula
# %%
def black_scholes(strike):
    d1 = (math.log(spot / strike) + (rate + sigma**2 / 2) * years) / (sigma * math.sqrt(years))
    d2 = d1 - sigma * math.sqrt(years)
    cdf = statistics.NormalDist().cdf
    return spot * cdf(d1) - strike * math.exp(-rate * years) * cdf(d2)

exact = black_scholes(105)
exact
# %%
table = pd.DataFrame({"european": european, "asian": asian, "barrier": barrier}, index=["price", "error"]).T
table["formula"] = [exact, None, None]
table.round(3)
# %%
print(f"the European price is {abs(european[0] - exact) / european[1]:.2f} standard errors away")
# %%
table["price"].plot.bar(yerr=table["error"] * 2, figsize=(4, 3));
