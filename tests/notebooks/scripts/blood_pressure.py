# %% [markdown]
# # Dose and blood pressure
# Linear and logistic regression with statsmodels.
# %%
import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf
import matplotlib.pyplot as plt
# %%
patients = pd.read_csv("data/patients.csv")
patients.sample(5, random_state=1)
# %%
patients.groupby("dose")["pressure"].describe().round(1)
# %%
patients["decade"] = patients["age"] // 10 * 10
patients.boxplot("pressure", by="decade", figsize=(5, 3));
# %%
ols = smf.ols("pressure ~ age + smoker + dose", data=patients).fit()
print(ols.summary().tables[1])
# %%
ols.rsquared, ols.nobs
# %%
interaction = smf.ols("pressure ~ age + smoker * dose", data=patients).fit()
interaction.params.round(3)
# %%
sm.stats.anova_lm(ols, interaction).round(4)
# %% [markdown]
# Residuals
# %%
residuals = ols.resid
fig, axes = plt.subplots(1, 2, figsize=(8, 3))
axes[0].scatter(ols.fittedvalues, residuals, s=5)
sm.qqplot(residuals, line="s", ax=axes[1])
plt.tight_layout()
# %%
from statsmodels.stats.diagnostic import het_breuschpagan

lm, p, _, _ = het_breuschpagan(residuals, ols.model.exog)
print(f"Breusch–Pagan: {lm:.3f}, p = {p:.3f}")
# %%
robust = ols.get_robustcov_results("HC3")
pd.DataFrame({"classic": ols.bse, "robust": robust.bse}).round(4)
# %% [markdown]
# ## Events
# %%
logit = smf.logit("event ~ age + smoker + dose", data=patients).fit(disp=0)
np.exp(logit.params).round(3)
# %%
logit.pred_table()
# %%
grid = pd.DataFrame({"age": [30, 50, 70], "smoker": 0, "dose": 0.0})
grid["without"] = logit.predict(grid)
grid["dose"] = 20.0
grid["with"] = logit.predict(grid)
grid["fewer"] = grid["without"] - grid["with"]
grid.round(3)
# %%
for name, model in {"ols": ols, "interaction": interaction, "logit": logit}.items():
    print(f"{name:12} AIC {model.aic:10.2f}")
