import pytest

from jup2kub import ipynb
from jup2kub.errors import UsageError

SCRIPT = '''#!/usr/bin/env python
# -*- coding: utf-8 -*-
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   kernelspec:
#     display_name: My Python
#     language: python
#     name: mine
# ---

# %% [markdown] tags=["intro"]
# # Title
#
# Text

# %% tags=["parameters"] jup2kub={"step": "a"}
a = 1
# %time f()
# # %not a magic

# %% A title {"collapsed": true}
# !ls {a}
for i in range(2):
    # %timeit i
    pass


# %% language="bash" magic_args="-s x"
# echo 1
# # comment

# %%
# %%capture out
# a comment
# f?
# # why?

# %% [markdown]
"""
In **quotes**
"""

# %% [raw]
# raw

#%%
'''


def test_a_script_as_jupytext_writes_it():
    notebook = ipynb.read(SCRIPT.encode(), "a.py")
    assert notebook.kernel == "mine"
    assert [(c.kind, c.source) for c in notebook.cells] == [
        ("markdown", "# Title\n\nText"),
        ("code", "a = 1\n%time f()\n# %not a magic"),
        ("code", "!ls {a}\nfor i in range(2):\n    %timeit i\n    pass"),
        ("code", "%%bash -s x\necho 1\n# comment"),
        ("code", "%%capture out\n# a comment\nf?\n# why?"),
        ("markdown", "In **quotes**"),
        ("raw", "raw"),
        ("code", ""),
    ]
    assert notebook.cells[1].tags == {"parameters"}
    assert notebook.cells[1].options.step == "a"
    assert notebook.document["cells"][2]["metadata"] == {"title": "A title", "collapsed": True}


def test_a_script_is_known_by_content_too():
    assert len(ipynb.read(b"# %%\nx = 1\n# %%\ny = 2\n", "notebook").cells) == 2


def test_text_before_the_first_marker_is_a_cell():
    assert [c.source for c in ipynb.read(b"import os\n\n# %%\nx = 1\n", "a.py").cells] == [
        "import os",
        "x = 1",
    ]


def test_a_script_without_markers_is_one_cell():
    assert [c.source for c in ipynb.read(b"x = 1\n\ny = 2\n", "a.py").cells] == ["x = 1\n\ny = 2"]


def test_prompts_of_exported_scripts_are_markers():
    text = b"#!/usr/bin/env python\n# coding: utf-8\n\n# In[1]:\n\nx = 1\n\n# In[ ]:\n\ny = 2\n"
    assert [c.source.strip() for c in ipynb.read(text, "a.py").cells] == ["x = 1", "y = 2"]


@pytest.mark.parametrize(("name", "language"), [("a.R", "R"), ("a.jl", "julia")])
def test_scripts_of_other_languages(name, language):
    notebook = ipynb.read(b"# %%\nx = 1\n", name)
    assert (notebook.language, notebook.cells[0].python) == (language, None)


def test_options_of_a_marker_that_cannot_be_read_are_refused():
    with pytest.raises(UsageError, match="line 1") as caught:
        ipynb.read(b"# %% tags=[parameters]\nx = 1\n", "a.py")
    assert caught.value.code == "J2K206"


def test_a_title_may_hold_an_equation():
    (cell,) = ipynb.read(b"# %% Fit y=ax+b\nx = 1\n", "a.py").document["cells"]
    assert cell["metadata"] == {"title": "Fit y=ax+b"}
