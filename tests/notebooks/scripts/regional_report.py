# %% [markdown]
# # Regions and products: a report made of one long pipeline
# %%
import numpy as np
import pandas as pd
import matplotlib.pyplot as plt

plt.rcParams["figure.figsize"] = (6, 2.5)
# %%
raw = pd.read_csv("data/sales.csv", parse_dates=["date"])
raw.sample(5, random_state=3)
# %%
clean = (
    raw.dropna(subset=["price"])
    .assign(
        revenue=lambda d: d["price"] * d["quantity"],
        month=lambda d: d["date"].dt.to_period("M").astype(str),
        weekday=lambda d: d["date"].dt.day_name(),
    )
    .query("revenue > 0")
    .sort_values(["date", "region", "product"], kind="stable")
    .reset_index(drop=True)
)
clean.shape
# %%
def top_share(group, n=3):
    by_product = group.groupby("product")["revenue"].sum().sort_values(ascending=False)
    return by_product.head(n).sum() / by_product.sum()


shares = pd.Series({region: top_share(group) for region, group in clean.groupby("region")}, name="share of the top three")
shares.round(3)
# %%
months = clean.pivot_table(index="month", columns="region", values="revenue", aggfunc="sum", fill_value=0)
months.tail()
# %%
months.plot(legend=False);
# %%
growth = months.pct_change().replace([np.inf, -np.inf], np.nan)
growth.describe().loc[["mean", "std", "min", "max"]].round(3)
# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3))
clean.groupby("weekday")["revenue"].mean().plot.barh(ax=axes[0])
clean["revenue"].clip(upper=clean["revenue"].quantile(0.99)).plot.hist(bins=40, ax=axes[1])
fig.tight_layout()
# %% [markdown]
# ## Outliers, by region: a robust score
# %%
def robust_score(values):
    middle = values.median()
    return (values - middle) / (1.4826 * (values - middle).abs().median())


clean["score"] = clean.groupby(["region", "product"])["revenue"].transform(robust_score)
outliers = clean[clean["score"].abs() > 6]
outliers.groupby("region").size()
# %%
def spread(group):
    return pd.Series({"n": len(group), "iqr": group["revenue"].quantile(0.75) - group["revenue"].quantile(0.25), "top": group["product"].mode().iloc[0]})


clean.groupby("region")[["revenue", "product"]].apply(spread)
# %% [markdown]
# ## Two questions that have nothing to do with each other
# %%
def permuted_gap(frame, column, label, rounds, seed):
    rng = np.random.default_rng(seed)
    values, chosen = frame[column].to_numpy(), (frame["region"] == label).to_numpy()
    observed = values[chosen].mean() - values[~chosen].mean()
    gaps = np.empty(rounds)
    for k in range(rounds):
        mixed = rng.permutation(chosen)
        gaps[k] = values[mixed].mean() - values[~mixed].mean()
    return observed, (np.abs(gaps) >= abs(observed)).mean()
# %%
region = sorted(clean["region"].unique())[0]
gap, p_gap = permuted_gap(clean, "revenue", region, 3000, seed=4)
print(f"{region}: {gap:+.2f} per order, p = {p_gap:.3f}")
# %%
noise = np.random.default_rng(5)
monthly = months.sum(axis=1).to_numpy()
slopes = [np.polyfit(np.arange(len(monthly)), noise.choice(monthly, len(monthly)), 1)[0] for _ in range(4000)]
slope = np.polyfit(np.arange(len(monthly)), monthly, 1)[0]
print(f"trend {slope:,.1f} a month; chance gives more in {np.mean(np.abs(slopes) >= abs(slope)):.1%}")
# %%
report = months.T.assign(total=months.sum(), share=shares, outliers=outliers.groupby("region").size()).fillna(0)
report.to_csv("report.csv")
report[["total", "share", "outliers"]].sort_values("total", ascending=False)
# %%
pd.read_csv("report.csv", index_col=0).round(2).equals(report.round(2)), report.shape
