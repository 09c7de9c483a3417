# %% [markdown]
# # Which classifier?
# Synthetic data with interactions; four models, cross-validated.
# %%
import numpy as np
import pandas as pd
import matplotlib.pyplot as plt
from sklearn.datasets import make_classification
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
# %%
SEED = 7
X, y = make_classification(n_samples=2500, n_features=20, n_informative=8, n_redundant=4, flip_y=0.05, random_state=SEED)
X.shape, y.mean().round(3)
# %%
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=SEED, stratify=y)
print(len(X_train), len(X_test))
# %%
pd.DataFrame(X_train).corr().abs().where(lambda c: c < 1).max().round(2)
# %%
def evaluate(model):
    scores = cross_val_score(model, X_train, y_train, cv=5)
    return scores.mean(), scores.std()
# %% [markdown]
# ## Linear
# %%
from sklearn.linear_model import LogisticRegression

linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
linear_score = evaluate(linear)
linear_score
# %% [markdown]
# ## Forest
# %%
from sklearn.ensemble import RandomForestClassifier

forest = RandomForestClassifier(n_estimators=90, random_state=SEED)
forest_score = evaluate(forest)
forest_score
# %% [markdown]
# ## Boosting
# %%
from sklearn.ensemble import GradientBoostingClassifier

boosting = GradientBoostingClassifier(n_estimators=90, random_state=SEED)
boosting_score = evaluate(boosting)
boosting_score
# %% [markdown]
# ## Support vectors
# %%
from sklearn.svm import SVC

svc = make_pipeline(StandardScaler(), SVC(C=3.0))
svc_score = evaluate(svc)
svc_score
# %% [markdown]
# ## Verdict
# %%
scores = pd.DataFrame(
    [linear_score, forest_score, boosting_score, svc_score],
    index=["linear", "forest", "boosting", "svc"],
    columns=["mean", "std"],
)
scores.sort_values("mean", ascending=False).round(4)
# %%
scores["mean"].plot.bar(yerr=scores["std"], ylim=(0.5, 1), figsize=(5, 3));
# %%
models = {"linear": linear, "forest": forest, "boosting": boosting, "svc": svc}
winner = scores["mean"].idxmax()
best = models[winner].fit(X_train, y_train)
print(winner, round(best.score(X_test, y_test), 4))
# %%
from sklearn.metrics import confusion_matrix

pd.DataFrame(confusion_matrix(y_test, best.predict(X_test)), index=["is 0", "is 1"], columns=["said 0", "said 1"])
