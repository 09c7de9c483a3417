# %% [markdown]
# # Life and sand
# Two cellular automata.
# %%
import numpy as np
import matplotlib.pyplot as plt
# %%
def life_step(grid):
    neighbours = sum(np.roll(grid, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) - grid
    return ((neighbours == 3) | ((grid == 1) & (neighbours == 2))).astype(np.int8)
# %%
glider = np.zeros((8, 8), dtype=np.int8)
glider[1, 2] = glider[2, 3] = glider[3, 1] = glider[3, 2] = glider[3, 3] = 1
after = glider
for _ in range(4):
    after = life_step(after)
np.array_equal(after, np.roll(glider, (1, 1), (0, 1)))
# %%
soup = np.random.default_rng(5).integers(0, 2, (160, 160)).astype(np.int8)
soup.mean().round(3)
# %%
grid = soup.copy()
alive = []
for _ in range(7000):
    grid = life_step(grid)
    alive.append(int(grid.sum()))
alive[-1]
# %%
plt.imshow(grid, cmap="binary"); plt.axis("off");
# %%
plt.plot(alive); plt.ylabel("alive");
# %% [markdown]
# ## A sandpile, grain by grain
# %%
def topple(pile):
    sizes = 0
    while True:
        unstable = pile >= 4
        if not unstable.any():
            return sizes
        sizes += int(unstable.sum())
        pile[unstable] -= 4
        for axis in (0, 1):
            for shift in (1, -1):
                moved = np.roll(unstable, shift, axis)
                edge = [slice(None), slice(None)]
                edge[axis] = 0 if shift == 1 else -1
                moved[tuple(edge)] = False
                pile[moved] += 1
# %%
pile = np.full((41, 41), 3)
dropper = np.random.default_rng(8)
avalanches = []
for _ in range(3000):
    i, j = dropper.integers(0, 41, 2)
    pile[i, j] += 1
    avalanches.append(topple(pile))
max(avalanches), int(pile.sum())
# %%
plt.imshow(pile, cmap="viridis"); plt.colorbar();
# %%
sizes, counts = np.unique([a for a in avalanches if a], return_counts=True)
plt.loglog(sizes, counts, ".");
# %% [markdown]
# ## Rule 30
# %%
rule = 30
row = np.zeros(201, dtype=int); row[100] = 1
rows = [row]
for _ in range(100):
    left, right = np.roll(row, 1), np.roll(row, -1)
    row = (rule >> (4 * left + 2 * row + right)) & 1
    rows.append(row)
plt.imshow(rows, cmap="binary");
# %%
bits = [int(r[100]) for r in rows]
"".join(map(str, bits[:60]))
