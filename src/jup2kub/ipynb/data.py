"""Tables: option keys that belong to other tools, languages of kernels and of scripts."""

from __future__ import annotations

# Quarto: execution, output, figures, tables, code, layout, interactive cells; knitr's own beside them.
_QUARTO = """
    echo eval output warning error include label classes renderings tags id panel column cache-vars dependson
    message results comment prompt strip-white tidy collapse highlight background purl autodep child engine
    code-fold code-summary code-overflow code-line-numbers code-annotations source-line-numbers filename caption
    title export-cell execute location align alt width height freeze output-location layout rows content
    orientation fill expandable padding context color autorun edit exercise setup startover input define persist
    min-lines max-lines timelimit runbutton check hint solution envir completion autoprint animation-hook df-print
"""
_NBDEV = """
    export exporti exports exec_doc default_exp default_cls_lvl hide hide_input hide_output hide_line
    filter_stream skip_showdoc collapse_input collapse_output cls_lvl test slow cuda
"""
FOREIGN_KEYS = frozenset(f"{_QUARTO} {_NBDEV}".split())
"""Keys of `#|` lines that other tools own; they are let through."""

FOREIGN_PREFIXES = ("fig-", "fig.", "tbl-", "lst-", "cap-", "code-", "out.", "out-", "layout-", "html-")
"""Families of such keys."""

KERNEL_LANGUAGES = (
    ("ir", "R"),
    ("julia", "julia"),
    ("gophernotes", "go"),
    ("gonb", "go"),
    ("xcpp", "C++"),
    ("xr", "R"),
    ("bash", "bash"),
    ("javascript", "javascript"),
    ("deno", "typescript"),
    ("octave", "octave"),
    ("matlab", "matlab"),
    ("scala", "scala"),
    ("almond", "scala"),
    ("sas", "sas"),
    ("evcxr", "rust"),
    ("rust", "rust"),
    ("ruby", "ruby"),
    (".net-csharp", "C#"),
    (".net-fsharp", "F#"),
)
"""Language by the first part of a kernel's name, for notebooks that name no language."""

SCRIPT_LANGUAGES = {".py": "python", ".r": "R", ".jl": "julia"}
"""Language of a percent script by the ending of its name; all have `#` comments."""

_LANGUAGE_MAGICS = """
    bash csharp cython fsharp go html javascript js julia latex markdown matlab octave perl perl6 powershell pwsh r
    ruby rust sbt scala script sh sql stata svg tcsh zsh cmd
"""
FOREIGN_MAGICS = frozenset(_LANGUAGE_MAGICS.split())
"""Cell magics whose cell is of another language, and so all comments in a Python script; in small letters."""
