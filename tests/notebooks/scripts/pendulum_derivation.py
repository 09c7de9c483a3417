# %% [markdown]
# # The pendulum, by symbols
# %%
import sympy as sp

sp.init_printing(use_latex=False, use_unicode=True)
# %%
t = sp.symbols("t")
m, g, l = sp.symbols("m g l", positive=True)
theta = sp.Function("theta")(t)
# %%
x = l * sp.sin(theta)
y = -l * sp.cos(theta)
x, y
# %%
T = sp.simplify(m / 2 * (x.diff(t) ** 2 + y.diff(t) ** 2))
V = m * g * y
L = T - V
L
# %%
def euler_lagrange(L, q):
    return sp.simplify(L.diff(q.diff(t)).diff(t) - L.diff(q))

equation = euler_lagrange(L, theta)
equation
# %%
acceleration = sp.solve(equation, theta.diff(t, 2))[0]
acceleration
# %% [markdown]
# ## Small angles
# %%
q = sp.symbols("q")
linear = sp.series(sp.sin(q), q, 0, 4)
linear
# %%
small = sp.Eq(theta.diff(t, 2), -g / l * theta)
general = sp.dsolve(small, theta)
general
# %%
C1, C2 = sp.symbols("C1 C2")
start = {general.rhs.subs(t, 0): sp.Symbol("theta0")}
released = general.rhs.subs({C1: 0, C2: sp.Symbol("theta0")})
released
# %%
period = 2 * sp.pi * sp.sqrt(l / g)
print("period of 1 m:", period.subs({l: 1, g: sp.Rational(981, 100)}).evalf(6))
# %% [markdown]
# ## The exact period is an elliptic integral
# %%
k = sp.symbols("k")
exact = 4 * sp.sqrt(l / g) * sp.elliptic_k(k**2)
expansion = sp.series(exact / period, k, 0, 6)
expansion
# %%
for degrees in (5, 30, 90):
    kk = sp.sin(sp.rad(degrees) / 2)
    print(degrees, (exact / period).subs(k, kk).evalf(8))
# %%
energy = sp.simplify(T + V)
rate = sp.simplify(energy.diff(t).subs(theta.diff(t, 2), acceleration))
print("dE/dt =", rate)
# %%
M = sp.Matrix([[0, 1], [-g / l, 0]])
M.eigenvals()
