# %% [markdown]
# # Opinions in two villages
# Agents meet at random and convince each other if they are near enough. Plain Python.
# %%
import random
from dataclasses import dataclass, field
import matplotlib.pyplot as plt
# %%
@dataclass
class Agent:
    name: int
    opinion: float
    trust: float = 0.3
    history: list = field(default_factory=list)

    def meet(self, other, tolerance):
        gap = other.opinion - self.opinion
        if abs(gap) < tolerance:
            self.opinion += self.trust * gap
            other.opinion -= other.trust * gap
# %%
class Village:
    def __init__(self, size, tolerance, seed):
        self.rnd = random.Random(seed)
        self.tolerance = tolerance
        self.agents = [Agent(i, self.rnd.random()) for i in range(size)]

    def day(self):
        for _ in range(len(self.agents)):
            a, b = self.rnd.sample(self.agents, 2)
            a.meet(b, self.tolerance)
        for a in self.agents:
            a.history.append(a.opinion)
# %%
def clusters(village, gap=0.05):
    values = sorted(a.opinion for a in village.agents)
    return 1 + sum(b - a > gap for a, b in zip(values, values[1:]))
# %%
days = 700
open_village = Village(1500, tolerance=0.35, seed=1)
closed_village = Village(1500, tolerance=0.1, seed=2)
clusters(open_village), clusters(closed_village)
# %%
for _ in range(days):
    open_village.day()
print("open:", clusters(open_village), "clusters")
# %%
for _ in range(days):
    closed_village.day()
print("closed:", clusters(closed_village), "clusters")
# %%
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(8, 3))
for ax, village in zip(axes, (open_village, closed_village)):
    for agent in village.agents[:60]:
        ax.plot(agent.history, lw=0.5)
# %%
def spread(village):
    values = [a.opinion for a in village.agents]
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5

print(f"open {spread(open_village):.4f}, closed {spread(closed_village):.4f}")
# %% [markdown]
# One stubborn agent in the open village.
# %%
stubborn = open_village.agents[0]
stubborn.opinion, stubborn.trust = 1.0, 0.0
open_village.tolerance = 0.6
# %%
for _ in range(30):
    open_village.day()
moved = sum(a.opinion for a in open_village.agents) / len(open_village.agents)
print(f"mean opinion {moved:.4f}")
# %%
stubborn.opinion, len(stubborn.history), open_village.agents[0] is stubborn
