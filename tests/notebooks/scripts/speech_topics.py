# %% [markdown]
# # What are the speeches about?
# %%
import glob
import math
import re
from collections import Counter, defaultdict
# %%
files = sorted(glob.glob("data/speech-*.txt"))
len(files), files[:2]
# %%
texts = {}
for name in files:
    with open(name) as f:
        texts[name.split("/")[-1][:-4]] = f.read()
sum(map(len, texts.values()))
# %%
STOP = set("the a of and in to with over under we you they is was".split())

def tokens(text):
    return [w for w in re.findall(r"[a-z]+", text.lower()) if w not in STOP]
# %%
words = {name: tokens(text) for name, text in texts.items()}
{name: len(w) for name, w in list(words.items())[:3]}
# %%
total = Counter()
for w in words.values():
    total.update(w)
total.most_common(8)
# %%
document_frequency = defaultdict(int)
for w in words.values():
    for term in set(w):
        document_frequency[term] += 1
len(document_frequency)
# %%
def tfidf(name):
    counts = Counter(words[name])
    n = len(words)
    return {t: c / len(words[name]) * math.log((1 + n) / (1 + document_frequency[t])) for t, c in counts.items()}

vectors = {name: tfidf(name) for name in words}
sorted(vectors["speech-00-hill"], key=vectors["speech-00-hill"].get, reverse=True)[:5]
# %%
def cosine(a, b):
    dot = sum(v * b.get(k, 0.0) for k, v in a.items())
    return dot / math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))

names = list(vectors)
similar = {(p, q): cosine(vectors[p], vectors[q]) for i, p in enumerate(names) for q in names[i + 1 :]}
max(similar, key=similar.get), round(max(similar.values()), 4)
# %% [markdown]
# ## Two groups
# %%
groups = [[names[0]], [names[1]]]
for name in names[2:]:
    closeness = [sum(cosine(vectors[name], vectors[m]) for m in g) / len(g) for g in groups]
    groups[closeness.index(max(closeness))].append(name)
for g in groups:
    print(len(g), Counter(n.split("-")[-1] for n in g))
# %%
pairs = Counter()
for text in texts.values():
    for sentence in text.split("."):
        w = sorted(set(tokens(sentence)))
        pairs.update((a, b) for i, a in enumerate(w) for b in w[i + 1 :])
pairs.most_common(5)
# %%
longest = max((s for t in texts.values() for s in t.split(".")), key=len).strip()
print(len(longest.split()), "words:", longest)
# %%
import pandas as pd

frame = pd.DataFrame(vectors).fillna(0).T
frame.shape, frame.to_numpy().sum().round(6)
