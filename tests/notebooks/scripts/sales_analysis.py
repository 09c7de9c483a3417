# %% [markdown]
# # A year of furniture sales
# Orders from four regions. What sells, where, and when?
# %%
import numpy as np
import pandas as pd
import matplotlib.pyplot as plt

pd.set_option("display.width", 120)
pd.options.display.float_format = "{:,.2f}".format
# %%
orders = pd.read_csv("data/sales.csv", parse_dates=["date"])
orders.head()
# %%
orders.dtypes
# %%
orders.isna().sum()
# %% [markdown]
# Some prices are missing. We fill them with the median of the product.
# %%
orders["price"] = orders["price"].fillna(orders.groupby("product")["price"].transform("median"))
assert orders["price"].notna().all()
# %%
orders["revenue"] = orders["price"] * orders["quantity"]
orders["month"] = orders["date"].dt.to_period("M")
orders.describe()
# %%
regions = pd.read_csv("data/regions.csv")
regions
# %%
orders = orders.merge(regions, on="region", how="left")
len(orders), orders["manager"].nunique()
# %% [markdown]
# ## By product and region
# %%
by_product = orders.groupby("product")["revenue"].agg(["sum", "mean", "count"]).sort_values("sum", ascending=False)
by_product
# %%
table = orders.pivot_table(index="manager", columns="product", values="revenue", aggfunc="sum")
table
# %%
share = table.div(table.sum(axis=1), axis=0)
share.round(3)
# %%
fig, ax = plt.subplots(figsize=(6, 3))
share.plot.barh(stacked=True, ax=ax)
ax.set_xlabel("share of revenue")
ax.legend(bbox_to_anchor=(1, 1))
plt.show()
# %% [markdown]
# ## Through the year
# %%
monthly = orders.groupby("month")["revenue"].sum()
monthly.plot(kind="bar", title="Revenue per month", figsize=(6, 2.5));
# %%
best = monthly.idxmax()
print(f"best month: {best}, {monthly.max():,.0f}")
# %%
weekly = orders.set_index("date")["revenue"].resample("W").sum()
rolling = weekly.rolling(4).mean()
plt.plot(weekly.index, weekly, alpha=0.4)
plt.plot(rolling.index, rolling)
plt.title("weekly, and mean of four weeks")
plt.show()
# %% [markdown]
# ## Large orders
# %%
limit = orders["revenue"].quantile(0.99)

def is_large(row):
    return row["revenue"] > limit

large = orders[orders.apply(is_large, axis=1)]
large.sort_values("revenue", ascending=False).head(10)[["date", "region", "product", "quantity", "revenue"]]
# %%
print(len(large), "orders make", f"{large['revenue'].sum() / orders['revenue'].sum():.1%}", "of the revenue")
# %%
summary = by_product.join(large.groupby("product").size().rename("large")).fillna(0)
summary.to_csv("summary.csv")
summary
# %%
pd.read_csv("summary.csv", index_col=0).shape
