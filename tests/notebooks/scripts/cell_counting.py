# %% [markdown]
# # Counting cells in a micrograph
# %%
import numpy as np
import matplotlib.pyplot as plt
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage as ndi
# %%
picture = Image.open("data/cells.png")
picture.size, picture.mode
# %%
raw = np.asarray(picture, dtype=float)
plt.imshow(raw, cmap="gray"); plt.axis("off");
# %%
raw.min(), raw.max(), raw.mean().round(2)
# %%
smooth = ndi.gaussian_filter(raw, 1.5)
background = ndi.minimum_filter(smooth, 25)
flat = smooth - ndi.gaussian_filter(background, 20)
# %%
def otsu(values, bins=128):
    counts, edges = np.histogram(values, bins)
    middle = (edges[1:] + edges[:-1]) / 2
    w0 = np.cumsum(counts); w1 = w0[-1] - w0
    s0 = np.cumsum(counts * middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = w0 * w1 * (s0 / w0 - (s0[-1] - s0) / w1) ** 2
    return middle[np.nanargmax(between)]

level = otsu(flat)
level.round(3)
# %%
mask = ndi.binary_opening(flat > level, iterations=2)
mask.mean().round(4)
# %%
distance = ndi.distance_transform_edt(mask)
peaks = (distance == ndi.maximum_filter(distance, 9)) & (distance > 2)
markers, count = ndi.label(peaks)
count
# %%
labels, n = ndi.label(mask)
areas = ndi.sum_labels(mask, labels, index=np.arange(1, n + 1)).astype(int)
print(n, "objects, areas", sorted(areas.tolist())[-5:])
# %%
plt.hist(areas, bins=12); plt.xlabel("area / px");
# %%
brightness = ndi.mean(raw, labels, index=np.arange(1, n + 1))
plt.scatter(areas, brightness, s=8); plt.xlabel("area"); plt.ylabel("brightness");
# %%
centres = np.array(ndi.center_of_mass(mask, labels, np.arange(1, n + 1)))
plt.imshow(raw, cmap="gray"); plt.plot(centres[:, 1], centres[:, 0], "r+");
# %% [markdown]
# ## Texture, a slow detour
# %%
def local_entropy(image, size=7):
    q = (image / 16).astype(int)
    out = np.zeros_like(image)
    h = size // 2
    for i in range(h, image.shape[0] - h):
        for j in range(h, image.shape[1] - h):
            p = np.bincount(q[i - h : i + h + 1, j - h : j + h + 1].ravel(), minlength=16) / size**2
            p = p[p > 0]
            out[i, j] = -(p * np.log2(p)).sum()
    return out

entropy = local_entropy(raw)
entropy.max().round(4)
# %%
angles = [np.abs(ndi.convolve(ndi.rotate(raw, a, reshape=False), np.array([[1, 0, -1]] * 3))).mean() for a in range(0, 180, 2)]
plt.plot(range(0, 180, 2), angles);
# %%
edges = picture.filter(ImageFilter.FIND_EDGES)
ImageOps.invert(edges).save("edges.png")
np.asarray(edges).mean().round(3)
# %%
print(f"cells: {n}, seeds: {count}, median area {np.median(areas):.0f}, entropy {entropy[entropy > 0].mean():.3f}")
