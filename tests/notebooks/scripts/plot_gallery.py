# %% [markdown]
# # A small gallery
# %%
import numpy as np
import matplotlib as mpl
import matplotlib.pyplot as plt

plt.rcParams["figure.figsize"] = (4, 3)
plt.rcParams["axes.grid"] = True
# %%
x = np.linspace(0, 2 * np.pi, 200)
rng = np.random.default_rng(0)
# %%
plt.plot(x, np.sin(x), label="sin")
plt.plot(x, np.cos(x), "--", label="cos")
plt.legend()
# %%
points = rng.normal(size=(2, 300))
plt.scatter(*points, c=np.hypot(*points), cmap="viridis", s=9)
plt.colorbar()
# %%
plt.hist(points[0], bins=20, alpha=0.5)
plt.hist(points[1] + 1, bins=20, alpha=0.5);
# %%
fig, axes = plt.subplots(2, 2, sharex=True)
for k, ax in enumerate(axes.flat, 1):
    ax.plot(x, np.sin(k * x))
    ax.set_title(f"k = {k}", fontsize=8)
fig.tight_layout()
# %%
z = np.sin(x)[:, None] * np.cos(x)
cs = plt.contourf(x, x, z, levels=12)
plt.colorbar(cs);
# %%
ax = plt.subplot(projection="polar")
ax.plot(x, 1 + np.cos(3 * x))
plt.show()
# %%
means, errors = rng.random(5) + 1, rng.random(5) / 5
plt.bar(range(5), means, yerr=errors, capsize=3)
plt.xticks(range(5), list("ABCDE"));
# %%
def spiral(turns, points=300):
    s = np.linspace(0, turns * 2 * np.pi, points)
    return s * np.cos(s), s * np.sin(s)

for turns in (1, 2, 3):
    plt.plot(*spiral(turns), lw=4 - turns)
plt.axis("equal");
# %%
with plt.style.context("ggplot"):
    plt.fill_between(x, np.sin(x), np.sin(x) / 2, alpha=0.6)
    plt.title("style for one figure")
# %%
fig, ax = plt.subplots()
ax.step(range(10), np.cumsum(rng.integers(-1, 2, 10)))
ax.annotate("start", (0, 0), (2, 1), arrowprops={"arrowstyle": "->"})
fig.savefig("steps.png", dpi=60)
# %%
import os

print("saved:", os.path.exists("steps.png"), mpl.rcParams["axes.grid"])
