# %% [markdown]
# # Epidemic on a grid (agents)
# %%
import random, argparse, sys, itertools, functools, enum, copy, statistics as stats
from collections import deque, Counter
import matplotlib.pyplot as plt
%config InlineBackend.figure_format = "png"
random.seed(2024)
# %%
p = argparse.Namespace(); p.n = 400; p.side = 40; p.beta = .35; p.days = 60; p.recover = 9
# %%
class State(enum.Enum):
    S = 0
    I = 1
    R = 2
# %%
class Agent:
    count = 0
    def __init__(self, world):
        self.id = Agent.count; Agent.count += 1
        self.world = world; self.state = State.S; self.days = 0
        self.x, self.y = world.rng.randrange(p.side), world.rng.randrange(p.side)
    def move(self):
        r = self.world.rng
        self.x = (self.x + r.choice((-1, 0, 1))) % p.side
        self.y = (self.y + r.choice((-1, 0, 1))) % p.side
# %%
def step(self):
    self.move()
    if self.state is State.I:
        self.days += 1
        if self.days > p.recover: self.state = State.R
Agent.step = step
# %%
class World:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.agents = [Agent(self) for _ in range(p.n)]
        for a in self.agents[:5]: a.state = State.I
        self.hist = []
    def tick(self):
        here = {}
        for a in self.agents:
            a.step(); here.setdefault((a.x, a.y), []).append(a)
        for group in here.values():
            if any(a.state is State.I for a in group):
                for a in group:
                    if a.state is State.S and self.rng.random() < p.beta: a.state = State.I
        c = Counter(a.state for a in self.agents)
        self.hist.append([c[s] for s in State])
    def run(self):
        for _ in range(p.days): self.tick()
        return self
# %%
%%time
w = World(1).run()
plt.plot(w.hist, label=[s.name for s in State]); plt.legend(); plt.show()
# %%
Agent.count
# %%
peaks = []
for s in range(8):
    peaks.append(max(h[1] for h in World(s).run().hist))
stats.mean(peaks), stats.pstdev(peaks)
# %%
Agent.count
# %%
class Shy(Agent):
    "stays home half of the time"
    def move(self):
        if self.world.rng.random() < .5: super().move()
class ShyWorld(World):
    def __init__(self, seed, share):
        super().__init__(seed)
        for i in range(int(share * p.n)):
            self.agents[i].__class__ = Shy
# %%
shares = [0, .25, .5, .75, 1]
shy = {}
for sh in shares:
    shy[sh] = stats.mean(max(h[1] for h in ShyWorld(s, sh).run().hist) for s in range(3))
shy
# %%
plt.bar([str(k) for k in shy], shy.values()); plt.title("peak by share of shy")
# %%
p.beta = .6
hot = [max(h[1] for h in World(s).run().hist) for s in range(6)]
print("hot", stats.mean(hot))
# %%
p2 = copy.copy(p); p2.beta = .1
old, p = p, p2
cool = [max(h[1] for h in World(s).run().hist) for s in range(6)]
p = old
print("cool", stats.mean(cool), "beta back to", p.beta)
# %%
%%capture cap
for i in range(3):
    print("run", i, random.random())
# %%
print(cap.stdout)
# %%
def percolate(n, q, seed):
    r = random.Random(seed)
    g = [[r.random() < q for _ in range(n)] for _ in range(n)]
    todo = deque((0, j) for j in range(n) if g[0][j]); seen = set(todo)
    while todo:
        i, j = todo.popleft()
        if i == n - 1: return True
        for a, b in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if 0 <= a < n and 0 <= b < n and g[a][b] and (a, b) not in seen:
                seen.add((a, b)); todo.append((a, b))
    return False
# %%
qs = [.5, .55, .57, .59, .61, .63, .65, .7]
prob = [sum(percolate(60, q, s) for s in range(12)) / 12 for q in qs]
plt.plot(qs, prob, "o-");
# %%
@functools.lru_cache(maxsize=None)
def paths(i, j):
    return 1 if i == 0 or j == 0 else paths(i - 1, j) + paths(i, j - 1)
paths(60, 60)
# %%
paths.cache_info()
# %%
sys.getrecursionlimit() > 100, random.random()
