# %% [markdown]
# # A heartbeat in noise
# %%
import numpy as np
import matplotlib.pyplot as plt
from scipy import signal
# %%
fs = 500
ecg = np.load("data/recording.npy").astype(float)
t = np.arange(ecg.size) / fs
print(ecg.size, "samples,", t[-1].round(1), "s")
# %%
plt.figure(figsize=(8, 2))
plt.plot(t, ecg, lw=0.5);
# %%
f, power = signal.welch(ecg, fs, nperseg=2048)
plt.semilogy(f, power); plt.xlim(0, 80);
# %%
f[np.argmax(power * (f > 30))].round(2)
# %% [markdown]
# Remove the mains hum and the baseline.
# %%
b, a = signal.iirnotch(50, 30, fs)
no_hum = signal.filtfilt(b, a, ecg)
# %%
sos = signal.butter(3, 0.7, "highpass", fs=fs, output="sos")
clean = signal.sosfiltfilt(sos, no_hum)
clean.std().round(4)
# %%
plt.figure(figsize=(8, 2))
plt.plot(t[:2500], ecg[:2500], alpha=0.3)
plt.plot(t[:2500], clean[:2500]);
# %%
beats, properties = signal.find_peaks(clean, height=0.5, distance=int(0.4 * fs))
len(beats), properties["peak_heights"].mean().round(3)
# %%
intervals = np.diff(beats) / fs
print(f"{60 / intervals.mean():.1f} beats per minute, variability {1000 * intervals.std():.1f} ms")
# %%
window = np.array([clean[b - 100 : b + 150] for b in beats if 100 <= b < clean.size - 150])
template = window.mean(axis=0)
plt.plot(window.T, color="0.8"); plt.plot(template, "k");
# %%
match = signal.correlate(clean, template - template.mean(), mode="same")
match /= np.abs(match).max()
(match > 0.6).sum()
# %%
frequencies, times, S = signal.spectrogram(clean, fs, nperseg=256, noverlap=192)
plt.pcolormesh(times, frequencies[:40], 10 * np.log10(S[:40] + 1e-12), shading="auto");
# %%
analytic = signal.hilbert(clean)
envelope = np.abs(analytic)
np.percentile(envelope, [50, 90, 99]).round(3)
# %%
slow = signal.decimate(envelope, 10)
slow.size, slow.mean().round(4)
