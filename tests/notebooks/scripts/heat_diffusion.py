# %% [markdown]
# # Heat in a plate
# Explicit finite differences; two materials are simulated apart and compared.
# %%
import numpy as np
import matplotlib.pyplot as plt

np.set_printoptions(precision=4, suppress=True)
# %%
n = 120
dx = 1.0 / n
steps = 30000
# %%
def initial():
    T = np.zeros((n, n))
    T[n // 3 : n // 2, n // 3 : n // 2] = 100.0
    T[0, :] = 20.0
    return T

def laplacian(T):
    return T[:-2, 1:-1] + T[2:, 1:-1] + T[1:-1, :-2] + T[1:-1, 2:] - 4 * T[1:-1, 1:-1]

def simulate(alpha, steps):
    T = initial()
    dt = 0.2 * dx * dx / alpha
    centre = []
    for step in range(steps):
        T[1:-1, 1:-1] += alpha * dt / dx**2 * laplacian(T)
        if step % 250 == 0:
            centre.append(T[n // 2, n // 2])
    return T, np.array(centre), dt
# %%
plt.imshow(initial(), cmap="inferno")
plt.colorbar(label="°C")
plt.title("start");
# %% [markdown]
# ## Copper
# %%
copper, copper_centre, copper_dt = simulate(1.11e-4, steps)
print("copper: mean", copper.mean().round(4), "after", round(copper_dt * steps, 2), "s")
# %%
plt.imshow(copper, cmap="inferno"); plt.title("copper"); plt.colorbar();
# %% [markdown]
# ## Steel
# %%
steel, steel_centre, steel_dt = simulate(1.17e-5, steps)
print("steel: mean", steel.mean().round(4), "after", round(steel_dt * steps, 2), "s")
# %%
plt.imshow(steel, cmap="inferno"); plt.title("steel"); plt.colorbar();
# %% [markdown]
# ## Comparison
# %%
fig, ax = plt.subplots()
ax.plot(np.arange(copper_centre.size) * 250 * copper_dt, copper_centre, label="copper")
ax.plot(np.arange(steel_centre.size) * 250 * steel_dt, steel_centre, label="steel")
ax.set_xlabel("time / s"); ax.set_ylabel("centre / °C"); ax.set_xscale("log"); ax.legend();
# %%
print("largest difference of the fields:", np.abs(copper - steel).max())
copper_centre[:5], steel_centre[:5]
# %%
energy = {"copper": copper.sum(), "steel": steel.sum(), "start": initial().sum()}
for name, value in energy.items():
    print(f"{name:8} {value:12.3f}")
