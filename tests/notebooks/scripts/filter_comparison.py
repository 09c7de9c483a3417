# %% [markdown]
# # Which filter brings the picture back?
# %%
import numpy as np
import matplotlib.pyplot as plt
from PIL import Image
from scipy import ndimage, signal
# %%
truth = np.asarray(Image.open("data/cells.png").convert("L"), dtype=float) / 255
truth.shape
# %%
rng = np.random.default_rng(17)
gaussian = np.clip(truth + rng.normal(0, 0.12, truth.shape), 0, 1)
speckled = truth.copy()
hit = rng.random(truth.shape)
speckled[hit < 0.05] = 0
speckled[hit > 0.95] = 1
noisy = {"gaussian": gaussian, "speckled": speckled}
# %%
fig, axes = plt.subplots(1, 3, figsize=(9, 3))
for ax, (name, picture) in zip(axes, {"truth": truth, **noisy}.items()):
    ax.imshow(picture, cmap="gray")
    ax.set_title(name)
    ax.axis("off")
# %%
def psnr(picture):
    return float(-10 * np.log10(np.mean((picture - truth) ** 2)))


def similarity(one, other, sigma=1.5):
    m1, m2 = ndimage.gaussian_filter(one, sigma), ndimage.gaussian_filter(other, sigma)
    v1 = ndimage.gaussian_filter(one**2, sigma) - m1**2
    v2 = ndimage.gaussian_filter(other**2, sigma) - m2**2
    cross = ndimage.gaussian_filter(one * other, sigma) - m1 * m2
    a, b = 1e-4, 9e-4
    return float(np.mean((2 * m1 * m2 + a) * (2 * cross + b) / ((m1**2 + m2**2 + a) * (v1 + v2 + b))))


{name: (round(psnr(p), 2), round(similarity(p, truth), 3)) for name, p in noisy.items()}
# %%
def patchwise(picture, radius=3, patch=1, h=0.12):
    """Non-local means, as in the paper, by shifts of the whole picture."""
    total, weights = np.zeros_like(picture), np.zeros_like(picture)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            moved = np.roll(picture, (dy, dx), axis=(0, 1))
            distance = ndimage.uniform_filter((picture - moved) ** 2, 2 * patch + 1)
            w = np.exp(-distance / h**2)
            total += w * moved
            weights += w
    return total / weights


def diffused(picture, steps=60, kappa=0.08, rate=0.2):
    u = picture.copy()
    for _ in range(steps):
        north, south = np.roll(u, 1, 0) - u, np.roll(u, -1, 0) - u
        west, east = np.roll(u, 1, 1) - u, np.roll(u, -1, 1) - u
        u += rate * sum(np.exp(-((d / kappa) ** 2)) * d for d in (north, south, west, east))
    return u


filters = {
    "gauss": lambda p: ndimage.gaussian_filter(p, 1.2),
    "median": lambda p: ndimage.median_filter(p, 3),
    "wiener": lambda p: signal.wiener(p, 5),
    "non-local": patchwise,
    "diffusion": diffused,
}
# %%
cleaned_gaussian = {}
for name, apply in filters.items():
    cleaned_gaussian[name] = apply(gaussian)
# %%
cleaned_speckled = {}
for name, apply in filters.items():
    cleaned_speckled[name] = apply(speckled)
# %%
table = {
    (kind, name): (psnr(picture), similarity(picture, truth))
    for kind, cleaned in (("gaussian", cleaned_gaussian), ("speckled", cleaned_speckled))
    for name, picture in cleaned.items()
}
for (kind, name), (p, s) in table.items():
    print(f"{kind:10}{name:12}{p:7.2f} dB {s:7.3f}")
# %%
best = {kind: max((k for k in table if k[0] == kind), key=lambda k: table[k][1])[1] for kind in noisy}
best
# %%
fig, axes = plt.subplots(2, 5, figsize=(11, 5))
for row, cleaned in zip(axes, (cleaned_gaussian, cleaned_speckled)):
    for ax, (name, picture) in zip(row, cleaned.items()):
        ax.imshow(picture[60:160, 60:160], cmap="gray", vmin=0, vmax=1)
        ax.set_title(name)
        ax.axis("off")
# %%
sigmas = np.linspace(0.4, 3, 14)
curve = [psnr(ndimage.gaussian_filter(gaussian, s)) for s in sigmas]
plt.plot(sigmas, curve, "o-")
plt.xlabel("sigma")
plt.ylabel("PSNR / dB");
# %%
print(f"best sigma {sigmas[int(np.argmax(curve))]:.1f}: {max(curve):.2f} dB, best filter {best['gaussian']}: {table['gaussian', best['gaussian']][0]:.2f} dB")
