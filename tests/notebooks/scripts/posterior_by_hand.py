# %% [markdown]
# # Samplers, by hand
# %%
import numpy as np, scipy.stats as st, matplotlib.pyplot as plt, json, random, math
from IPython.display import display, update_display, HTML
np.random.seed(7)
# %%
conf = json.load(open("data/sampler.json"))
conf
# %%
x = np.random.gamma(3, 2, 200)
plt.hist(x, bins=conf["bins"], density=True); plt.show()
# %%
def logp(theta, x):
    k, s = theta
    if k <= 0 or s <= 0:
        return -np.inf
    return st.gamma.logpdf(x, k, scale=s).sum() - k / 10 - s / 10
# %%
def metropolis(logp, x, start, n, step=0.2, rng=None):
    rng = rng or np.random
    cur = np.array(start, float); lp = logp(cur, x)
    out = np.empty((n, len(cur))); acc = 0
    for i in range(n):
        prop = cur + rng.normal(0, step, len(cur))
        lq = logp(prop, x)
        if np.log(rng.uniform()) < lq - lp:
            cur, lp = prop, lq; acc += 1
        out[i] = cur
    return out, acc / n
# %% [markdown]
# ### four chains with own generators
# %%
%%time
h = display(HTML("<progress value=0 max=4></progress>"), display_id="chains")
chains = []
for c in range(4):
    chain, rate = metropolis(logp, x, [1 + c, 1 + c / 2], 2500, rng=np.random.default_rng(c))
    chains.append(chain)
    update_display(HTML(f"<progress value={c+1} max=4></progress>"), display_id="chains")
# %%
# and one with the legacy generator
legacy, rate = metropolis(logp, x, [3, 2], 2500)
print(f"acceptance {rate:.3f}")
# %%
def rhat(ch):
    a = np.array(ch)[:, 800:, 0]
    m, n = a.shape
    W = a.var(1, ddof=1).mean(); B = n * a.mean(1).var(ddof=1)
    return math.sqrt(((n - 1) / n * W + B / n) / W)
rhat(chains)
# %%
for c in chains:
    plt.plot(c[:, 0], lw=.3)
plt.title("traces");
# %%
np.random.seed(7)
y = np.random.normal(0, 1, 50)
bf = 0
for _ in range(12000):
    mu = random.Random(_).gauss(0, 3)
    bf += math.exp(-0.5 * ((y - mu) ** 2).sum() + 0.5 * ((y - y.mean()) ** 2).sum())
bf / 12000
# %%
def lp_normal(theta, y):
    return -0.5 * ((y - theta[0]) ** 2).sum() - theta[0] ** 2 / 18
# %%
post, acc = metropolis(lp_normal, y, [0.0], 15000, step=.5, rng=np.random.default_rng(11))
post[1000:].mean().round(4), acc
# %%
def gibbs(n, rho, seed):
    g = np.random.default_rng(seed)
    a = b = 0.0
    res = []
    for _ in range(n):
        a = g.normal(rho * b, math.sqrt(1 - rho**2))
        b = g.normal(rho * a, math.sqrt(1 - rho**2))
        res.append((a, b))
    return np.array(res)
# %%
g1 = gibbs(80000, .5, 1)
np.corrcoef(g1.T)[0, 1].round(4)
# %%
g2 = gibbs(80000, .95, 2)
np.corrcoef(g2.T)[0, 1].round(4)
# %%
def acf(v, m=50):
    v = v - v.mean()
    return np.array([1.0] + [(v[:-k] * v[k:]).mean() / v.var() for k in range(1, m)])
plt.plot(acf(g1[:, 0])); plt.plot(acf(g2[:, 0])); plt.legend(["rho .5", "rho .95"]);
# %%
ppc = []
flat = np.concatenate([c[800:] for c in chains])
for k, s in flat[:: len(flat) // 400]:
    ppc.append(np.random.gamma(k, s, 200).mean())
plt.hist(ppc, 30); plt.axvline(x.mean(), color="r")
# %%
random.seed(3)
walk = [0]
for i in range(60000):
    walk.append(walk[-1] + random.choice((-1, 1)))
max(walk), min(walk)
# %%
h.update(HTML("<b>done</b>"))
# %%
print("posterior mean", flat.mean(0).round(3), "sd", flat.std(0).round(3))
