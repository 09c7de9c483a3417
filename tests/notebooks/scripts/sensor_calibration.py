# %% [markdown]
# # Calibrating cheap sensors against a reference
# %%
import numpy as np
import matplotlib.pyplot as plt
from scipy.optimize import curve_fit

rng = np.random.default_rng(88)
# %%
N_SENSORS, N_HOURS = 12, 24 * 60
hours = np.arange(N_HOURS)
reference = 40 + 15 * np.sin(2 * np.pi * hours / 24) + rng.normal(0, 4, N_HOURS).cumsum() * 0.1
# %%
def make_sensor(number):
    gain, offset = rng.normal(1.0, 0.15), rng.normal(0, 5)
    drift = rng.normal(0, 0.004)
    noise = rng.normal(0, 2 + number % 3, N_HOURS)
    return gain * reference + offset + drift * hours + noise


readings = {f"s{number:02d}": make_sensor(number) for number in range(N_SENSORS)}
len(readings)
# %%
for name in list(readings)[:3]:
    plt.plot(hours[:96], readings[name][:96], lw=0.8, label=name)
plt.plot(hours[:96], reference[:96], "k", label="reference")
plt.legend();
# %% [markdown]
# ## Fit: gain, offset and drift of each
# %%
def response(inputs, gain, offset, drift):
    value, hour = inputs
    return gain * value + offset + drift * hour


def calibrate(values, selection=slice(None)):
    found, covariance = curve_fit(response, (reference[selection], hours[selection]), values[selection])
    return found, np.sqrt(np.diag(covariance))


def corrected(values, parameters):
    gain, offset, drift = parameters
    return (values - offset - drift * hours) / gain
# %%
calibration = {}
for name, values in readings.items():
    parameters, errors = calibrate(values)
    calibration[name] = dict(zip(("gain", "offset", "drift"), parameters)) | {"error": errors[0]}
print(f"{'sensor':8}{'gain':>8}{'offset':>8}{'drift':>9}")
for name, found in calibration.items():
    print(f"{name:8}{found['gain']:8.3f}{found['offset']:8.2f}{found['drift']:9.4f}")
# %%
def rms(difference):
    return float(np.sqrt(np.mean(difference**2)))


before = {name: rms(values - reference) for name, values in readings.items()}
after = {}
for name, values in readings.items():
    found = calibration[name]
    after[name] = rms(corrected(values, (found["gain"], found["offset"], found["drift"])) - reference)
worst = max(after, key=after.get)
worst, round(after[worst], 2)
# %%
names = sorted(readings)
plt.bar(names, [before[n] for n in names], label="raw")
plt.bar(names, [after[n] for n in names], label="calibrated")
plt.legend();
# %% [markdown]
# ## How sure is it? Resample whole days, sensor by sensor
# %%
DAYS = N_HOURS // 24


def bootstrap_gain(values, rounds, seed):
    local = np.random.default_rng(seed)
    gains = []
    for _ in range(rounds):
        days = local.integers(0, DAYS, DAYS)
        selection = (days[:, None] * 24 + np.arange(24)).ravel()
        gains.append(calibrate(values, selection)[0][0])
    return np.percentile(gains, [2.5, 97.5])
# %%
first_half = {name: bootstrap_gain(readings[name], 120, seed) for seed, name in enumerate(names[:6])}
# %%
second_half = {name: bootstrap_gain(readings[name], 120, seed) for seed, name in enumerate(names[6:], 6)}
# %%
intervals = first_half | second_half
for name, (low, high) in intervals.items():
    print(name, f"{low:.3f} … {high:.3f}", "off" if not low <= 1 <= high else "")
# %%
suspects = [name for name, (low, high) in intervals.items() if not low <= 1 <= high]
fleet = np.mean([corrected(readings[n], tuple(calibration[n][k] for k in ("gain", "offset", "drift"))) for n in names], axis=0)
print(len(suspects), "sensors need a new gain; the fleet's mean is within", round(rms(fleet - reference), 3))
