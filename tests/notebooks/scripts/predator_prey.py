# %% [markdown]
# # Predators and prey
# Lotka–Volterra by `scipy.integrate`, and its parameters back from noisy data.
# %%
import numpy as np
import matplotlib.pyplot as plt
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares, minimize, brentq
# %%
a, b, c, d = 1.1, 0.4, 0.4, 0.1
y0 = [10.0, 5.0]
t = np.linspace(0, 40, 400)
# %%
def field(t, y):
    prey, predator = y
    return [a * prey - b * prey * predator, d * prey * predator - c * predator]
# %%
solution = solve_ivp(field, (0, 40), y0, t_eval=t, rtol=1e-8)
solution.success, solution.nfev
# %%
plt.plot(t, solution.y[0], label="prey")
plt.plot(t, solution.y[1], label="predators")
plt.legend(); plt.xlabel("time");
# %%
prey_grid, predator_grid = np.meshgrid(np.linspace(0.5, 14, 18), np.linspace(0.5, 10, 16))
u, v = field(0, [prey_grid, predator_grid])
speed = np.hypot(u, v)
plt.quiver(prey_grid, predator_grid, u / speed, v / speed, speed)
plt.plot(*solution.y, "k");
# %% [markdown]
# The conserved quantity tells how good the integrator is.
# %%
def conserved(y):
    prey, predator = y
    return d * prey - c * np.log(prey) + b * predator - a * np.log(predator)

V = conserved(solution.y)
print(f"drift {np.ptp(V):.2e}")
# %% [markdown]
# ## Fit
# %%
rng = np.random.default_rng(12)
data = solution.y[:, ::20] * rng.lognormal(0, 0.05, solution.y[:, ::20].shape)
data.shape
# %%
def model(parameters, times):
    a, b, c, d = parameters
    def f(t, y):
        return [a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - c * y[1]]
    return solve_ivp(f, (0, 40), y0, t_eval=times, rtol=1e-6).y

def residuals(parameters):
    return (np.log(model(parameters, t[::20])) - np.log(data)).ravel()
# %%
fit = least_squares(residuals, x0=[1.0, 0.35, 0.45, 0.12])
np.round(fit.x, 3)
# %%
error = np.abs(fit.x - [a, b, c, d]) / [a, b, c, d]
print("relative errors", np.round(error, 3))
# %%
plt.plot(t, model(fit.x, t).T)
plt.plot(t[::20], data.T, "o");
# %% [markdown]
# ## When do the predators first reach their maximum?
# %%
dense = solve_ivp(field, (0, 40), y0, dense_output=True, rtol=1e-9).sol
peak = brentq(lambda s: field(s, dense(s))[1], 0.5, 6)
print(f"{peak:.4f}", dense(peak).round(4))
# %%
a = 0.9
slow = solve_ivp(field, (0, 40), y0, t_eval=t, rtol=1e-8)
print("with a = 0.9 the largest number of prey is", slow.y[0].max().round(3), "instead of", solution.y[0].max().round(3))
# %%
best = minimize(lambda p: (conserved(p) - 0.2) ** 2, x0=[5.0, 2.0], method="Nelder-Mead")
best.x.round(3), bool(best.success)
