# %% [markdown]
# # An epidemic on a contact network
# %%
import random
from collections import Counter
import networkx as nx
import numpy as np
import matplotlib.pyplot as plt
# %%
random.seed(2024)
# %%
small_world = nx.watts_strogatz_graph(600, 8, 0.1, seed=1)
scale_free = nx.barabasi_albert_graph(600, 4, seed=1)
for name, G in [("small world", small_world), ("scale free", scale_free)]:
    print(f"{name:12} nodes {G.number_of_nodes()} edges {G.number_of_edges()} clustering {nx.average_clustering(G):.3f}")
# %%
degrees = Counter(dict(scale_free.degree()).values())
plt.loglog(list(degrees), list(degrees.values()), "o")
plt.xlabel("degree");
# %%
nx.average_shortest_path_length(small_world)
# %%
nx.average_shortest_path_length(scale_free)
# %%
central = nx.betweenness_centrality(scale_free, k=100, seed=3)
hubs = sorted(central, key=central.get, reverse=True)[:5]
hubs
# %%
def epidemic(G, beta, seeds, steps=60):
    state = {n: "S" for n in G}
    for s in seeds:
        state[s] = "I"
    curve = []
    for _ in range(steps):
        new = dict(state)
        for n in G:
            if state[n] == "I":
                if random.random() < 0.1:
                    new[n] = "R"
                for neighbour in G[n]:
                    if state[neighbour] == "S" and random.random() < beta:
                        new[neighbour] = "I"
        state = new
        curve.append(sum(v == "I" for v in state.values()))
    return curve, state
# %%
curve_random, end_random = epidemic(small_world, 0.04, [0, 1, 2])
max(curve_random), Counter(end_random.values())
# %%
curve_hubs, end_hubs = epidemic(scale_free, 0.04, hubs[:3])
max(curve_hubs), Counter(end_hubs.values())
# %%
plt.plot(curve_random, label="small world")
plt.plot(curve_hubs, label="scale free, from hubs")
plt.legend();
# %%
nx.set_node_attributes(scale_free, end_hubs, "state")
immune = [n for n, s in scale_free.nodes(data="state") if s == "R"]
len(immune)
# %%
left = scale_free.copy()
left.remove_nodes_from(immune)
print(nx.number_connected_components(left), "components are left;", scale_free.number_of_nodes(), "people in all")
# %%
communities = nx.community.greedy_modularity_communities(small_world)
[len(c) for c in communities][:8]
