# %% [markdown]
# # Confidence intervals by resampling
# %%
import numpy as np
import pandas as pd
import matplotlib.pyplot as plt
from scipy import stats
# %%
rng = np.random.default_rng(31)
control = rng.gamma(3.0, 2.0, 80)
treated = rng.gamma(3.6, 2.0, 75)
control.mean().round(3), treated.mean().round(3)
# %%
plt.hist([control, treated], bins=15, label=["control", "treated"]); plt.legend();
# %%
stats.describe(control)
# %%
stats.ttest_ind(treated, control, equal_var=False)
# %%
B = 90000

def bootstrap(sample, statistic, seed):
    generator = np.random.default_rng(seed)
    values = np.empty(B)
    for i in range(B):
        values[i] = statistic(generator.choice(sample, sample.size))
    return values
# %% [markdown]
# ## Median of the controls
# %%
median_control = bootstrap(control, np.median, seed=1)
np.percentile(median_control, [2.5, 97.5]).round(3)
# %% [markdown]
# ## Median of the treated
# %%
median_treated = bootstrap(treated, np.median, seed=2)
np.percentile(median_treated, [2.5, 97.5]).round(3)
# %% [markdown]
# ## Difference
# %%
difference = median_treated - median_control
low, high = np.percentile(difference, [2.5, 97.5])
print(f"difference of the medians: {difference.mean():.3f} [{low:.3f}, {high:.3f}]")
# %%
plt.hist(difference, bins=60); plt.axvline(0, color="k");
# %% [markdown]
# ## A permutation test
# %%
pooled = np.concatenate([control, treated])
observed = treated.mean() - control.mean()
shuffler = np.random.default_rng(5)
count = 0
for _ in range(20000):
    shuffler.shuffle(pooled)
    count += pooled[control.size :].mean() - pooled[: control.size].mean() >= observed
p_value = (count + 1) / 20001
p_value
# %%
pd.Series({"observed": observed, "p": p_value, "low": low, "high": high}).round(4)
