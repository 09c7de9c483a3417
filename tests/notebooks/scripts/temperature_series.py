# %% [markdown]
# # Six years of temperatures
# %%
import numpy as np
import pandas as pd
import matplotlib.pyplot as plt
# %%
raw = pd.read_csv("data/temperatures.csv", parse_dates=["day"], index_col="day")
raw.info()
# %%
raw.plot(figsize=(8, 2), lw=0.4, legend=False);
# %%
temperature = raw["celsius"].interpolate("time")
temperature.isna().sum()
# %%
yearly = temperature.resample("YE").agg(["mean", "min", "max"])
yearly.index = yearly.index.year
yearly.round(2)
# %%
monthly = temperature.groupby(temperature.index.month).mean()
monthly.plot.bar(figsize=(5, 2));
# %% [markdown]
# ## Season by regression on harmonics
# %%
phase = 2 * np.pi * temperature.index.day_of_year / 365.25
design = np.column_stack([np.ones(len(phase)), np.arange(len(phase)), np.cos(phase), np.sin(phase)])
coefficients, *_ = np.linalg.lstsq(design, temperature.to_numpy(), rcond=None)
coefficients.round(5)
# %%
seasonal = pd.Series(design @ coefficients, index=temperature.index)
residual = temperature - seasonal
residual.std().round(4)
# %%
print(f"trend: {coefficients[1] * 365.25 * 10:.2f} °C per decade")
# %%
lags = range(1, 31)
acf = [residual.autocorr(lag) for lag in lags]
plt.stem(list(lags), acf);
# %%
phi = acf[0]
innovations = residual.iloc[1:].to_numpy() - phi * residual.iloc[:-1].to_numpy()
phi.round(4), innovations.std().round(4)
# %% [markdown]
# ## Forecast
# %%
horizon = 30
last = residual.iloc[-1]
ahead = pd.date_range(temperature.index[-1] + pd.Timedelta(days=1), periods=horizon)
angle = 2 * np.pi * ahead.day_of_year / 365.25
future = np.column_stack([np.ones(horizon), len(phase) + np.arange(horizon), np.cos(angle), np.sin(angle)]) @ coefficients
forecast = pd.Series(future + last * phi ** np.arange(1, horizon + 1), index=ahead)
forecast.head().round(2)
# %%
temperature["2020-10":].plot(figsize=(6, 2)); forecast.plot();
# %%
hot = temperature > seasonal + 2 * residual.std()
runs = (hot != hot.shift()).cumsum()[hot]
waves = runs.value_counts()
print("hot days:", int(hot.sum()), "longest wave:", int(waves.max()), "days")
# %%
anomalies = residual.resample("ME").mean()
anomalies.nlargest(3).round(3)
