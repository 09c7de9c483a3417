"""The kernel child gives what nbclient records from a real ipykernel: every cell below runs in both."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from jup2kub.agent.kernel import Kernel, RunCell
from jup2kub.agent.launch import find

pytestmark = pytest.mark.kernel

CELLS = [
    "print('hello')",
    "1 + 1",
    "_, __, Out, In[1:3], _i1",
    "import sys\nprint('no newline', end='')\nprint('to stderr', file=sys.stderr)\nprint('again')",
    "x = [1, 2]\nx",
    "x;",
    "{'a': float('nan')}",
    "def f(n):\n    return 1 / n\n\nf(0)",
    "def g():\n    raise ValueError('inner') from KeyError('k')\n\nclass A:\n    def m(self):\n        g()\nA().m()",
    "this is not python",
    "if True:\nprint(1)",
    "undefined_name",
    "import json\njson.loads('{')",
    "import warnings\nwarnings.warn('careful')",
    "def deprecated():\n    warnings.warn('old', DeprecationWarning, stacklevel=2)\ndeprecated()",
    "from IPython.display import HTML, display, clear_output, Image, Markdown\ndisplay(HTML('<b>x</b>'))\nMarkdown('*y*')",
    "display(1, 2, display_id='one')",
    "handle = display('first', display_id='two')\nhandle.update('second')\nhandle",
    "print('a')\nclear_output(wait=True)\nprint('b')\nclear_output()\nprint('c')\nclear_output(wait=True)",
    "for i in range(3):\n    clear_output(wait=True)\n    print(i)",
    "class R:\n    def _repr_html_(self):\n        return '<i>r</i>'\n    def _repr_png_(self):\n        return b'\\x89PNG\\r\\n\\x1a\\n123'\n    def __repr__(self):\n        return 'R'\nR()",
    "class Bad:\n    def __repr__(self):\n        raise RuntimeError('no repr')\nBad()",
    "class Data:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n        return {'application/json': {'a': [1, None]}, 'text/plain': 'D'}, {'application/json': {'expanded': True}}\nData()",
    "!echo from the shell",
    "files = !printf 'a\\nb'\nfiles",
    "%%bash\necho one; echo two >&2",
    "%%capture caught\nprint('inside')\n3",
    "caught.stdout, caught.outputs",
    "%%writefile made_here.txt\nsome text",
    "len?",
    "%pwd",
    "%who_ls int",
    "%no_such_magic",
    "%precision 3\n3.14159265",
    "%precision %r",
    "import asyncio\nawait asyncio.sleep(0.001)\n'awaited'",
    "async def later():\n    await asyncio.sleep(0)\n    return 42\ntask = asyncio.create_task(later())",
    "await task",
    "asyncio.get_running_loop().is_running()",
    "coro = later()\ntry:\n    asyncio.run(coro)\nexcept RuntimeError as e:\n    print(e)\n    coro.close()",
    "async def fails():\n    raise OSError('in coroutine')\nawait fails()",
    "import contextvars\nvar = contextvars.ContextVar('var', default='unset')\ntoken = var.set('set')",
    "var.get()",
    "%autoawait",
    "input('name? ')",
    "import getpass\ngetpass.getpass()",
    "import sys\nsys.exit(3)",
    "raise KeyboardInterrupt",
    "raise SystemExit",
    "sys.path.index('') < len(sys.path), sys.argv[0].rpartition('/')[2], sys.argv[1]",
    "import __main__\n__main__.__dict__ is globals(), type(globals()) is dict, __name__, f.__module__",
    "get_ipython().__class__.__name__, 'IPKernelApp' in get_ipython().config, type(get_ipython().kernel).__mro__[-1]",
    "sys.stdout.isatty(), sys.stderr.isatty(), sys.stdout.encoding",
    "import os\nos.environ['MPLBACKEND'], os.environ['TERM'], os.environ['PAGER'], os.path.basename(os.getcwd()) != ''",
    "print('caf\\u00e9 \\U0001f600 \\0 \\x1b[31mred\\x1b[0m \\r over')",
    "import logging\nlogging.warning('root logger')\nlog = logging.getLogger('mine')\nlog.error('error')",
    "logging.basicConfig(force=True, stream=sys.stdout, level=logging.INFO, format='%(message)s')\nlog.info('info')",
    "import traceback\ntry:\n    f(0)\nexcept ZeroDivisionError:\n    traceback.print_exc()",
    # ipykernel reads the pipe in a thread, so it needs some time to see this before the cell ends
    "import subprocess, time\ndone = subprocess.run(['echo', 'child'])\ntime.sleep(0.3)",
    "done = os.system('echo by system')\ntime.sleep(0.3)",
    "import threading\nt = threading.Thread(target=lambda: print('in thread'))\nt.start()\nt.join()",
    "exec('print(\"exec\")')\neval('1+')",
    "raise ExceptionGroup('many', [ValueError(1), TypeError(2)])",
    "from __future__ import annotations\ndef h(x: Undefined) -> None: ...\nh.__annotations__",
    "def deep(n):\n    return deep(n - 1) if n else 1 / 0\ndeep(3)",
    "def endless():\n    return endless()\nendless()",
    "assert 1 == 2, 'a message'",
    "lambda: 0",
    "None",
    "''",
    "...",
    "range(3), (i for i in ()), print",
    "%%time\nn = 2",
    "%%html\n<p>hi</p>",
    "%%javascript\n1",
    "%load_ext no_such_extension",
    "%alias_magic t time",
    "%history -n 1-2",
    "%env MPLBACKEND",
    "%cd -q .",
    "exit",
]
"""Each is one cell of one notebook; errors are allowed."""

PLOT = [
    "import matplotlib.pyplot as plt\nplt.plot([1, 2])",
    "plt.get_fignums()",
    "%matplotlib inline\nfig, ax = plt.subplots(figsize=(1, 1))\nax.bar([1], [2])\nprint('text')",
    "plt.close('all')\nfig",
    "plt.figure(figsize=(1, 1))\nplt.title('t')\nplt.show()\nprint('after')\nplt.plot([3])\n1/0",
    "plt.get_backend()",
]
FRAMES = [
    "import numpy as np, pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': ['x', None]})\ndf",
    "df.describe()",
    "np.arange(20).reshape(4, 5)",
    "np.float64(1) / 0",
    "df['missing']",
    "df.a.values[0] = 9\ndf.iloc[10]",
    "from tqdm.auto import tqdm\nsum(i for i in range(3))",
]
UNIMPORTED = [
    "import importlib\nimportlib.metadata.version('ipykernel')",
    "import email, http, xml, xmlrpc\nemail.utils.parseaddr('a <b@c>'), email.message.Message, http.client.OK",
    "http.server, xml.parsers.expat.error, xmlrpc.client.Fault, type(http.server), type(xmlrpc.client)",
    "import jupyter_client\nsorted(n for n in dir(jupyter_client) if n[0].isupper())",
    "from jupyter_client import *\nKernelManager, jupyter_client.BlockingKernelClient, type(jupyter_client)",
    "import os\nos.environ['PYDEVD_USE_FRAME_EVAL']",
    "breakpoint()\n'went on'",
    "%%writefile part.py\npart = 5",
    "execfile('part.py', globals())\npart, callable(runfile)",
]
"""What is there because ipykernel has imported it."""


def normal(text: str) -> str:
    """Mask what differs between two runs of one kernel: process ids, addresses, times."""
    text = re.sub(r"ipykernel_\d+", "ipykernel_PID", text)
    text = re.sub(r"0x[0-9a-f]{6,}", "0xADDR", text)
    text = re.sub(r"kernel-[-0-9a-f]+\.json|tmp\w+\.json", "CONNECTION", text)
    return re.sub(r"\d+(\.\d+)? (ns|[µμu]s|ms|s)\b", "TIME", text)


def comparable(outputs: Any) -> list[Any]:
    """Join the text of each stream between two other outputs, and mask."""
    found: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        output = {k: v for k, v in output.items() if k != "transient"}
        if output["output_type"] == "stream":
            if output["name"] in streams:
                streams[output["name"]]["text"] += output["text"]
                continue
            streams[output["name"]] = output
        else:
            streams = {}
        found.append(output)
    text = normal(nbformat.v4.writes(nbformat.v4.new_notebook(metadata={"o": found})))
    outputs = nbformat.v4.reads(text).metadata.o
    # Of two streams between displays, nbclient's order is by chance.
    runs: list[Any] = []
    for output in outputs:
        if output["output_type"] == "stream" and runs and runs[-1][0]["output_type"] == "stream":
            runs[-1] = sorted([*runs[-1], output], key=lambda o: o["name"])
        else:
            runs.append([output])
    return [o for run in runs for o in run]


async def ours(cells: list[str], folder: Path) -> list[list[Any]]:
    kernel = await Kernel.start(find("python3", cwd=str(folder)))
    tables = []
    try:
        for i, source in enumerate(cells):
            result = await asyncio.wait_for(kernel.run(RunCell(i, i + 1, source)), 60)
            tables.append([dict(o) for o in result.outputs])
            for update in result.updates:
                for earlier in tables[:-1]:
                    for output in earlier:
                        if output.get("transient", {}).get("display_id") == update["display_id"]:
                            output.update(data=update["data"], metadata=update["metadata"])
    finally:
        await kernel.close()
    return tables


def theirs(cells: list[str], folder: Path) -> list[list[Any]]:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "cells", [CELLS, PLOT, FRAMES, UNIMPORTED], ids=["python", "plots", "frames", "unimported"]
)
def test_every_cell_gives_what_nbclient_records(
    cells: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs equal, cell by cell: types, names, text, mime bundles, counts, tracebacks."""
    # ipykernel does not catch what child processes write if it sees this one.
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    folder = tmp_path / "folder"
    folder.mkdir()
    wanted = theirs(cells, folder)
    for made in ("made_here.txt", "part.py"):
        (folder / made).unlink(missing_ok=True)
    got = asyncio.run(ours(cells, folder))
    different = [
        f"{cells[i]}\n  ours:   {comparable(g)}\n  theirs: {comparable(w)}"
        for i, (g, w) in enumerate(zip(got, wanted, strict=True))
        if comparable(g) != comparable(w)
    ]
    assert not different, "\n".join(different)


def test_every_submodule_that_ipykernel_has_imported_is_there(tmp_path: Path) -> None:
    """A cell may reach a submodule through its package, which is all that it has imported itself."""
    names = (
        "import sys\n"
        "sorted(n for n in sys.modules if '.' in n and n.partition('.')[0] in sys.stdlib_module_names)"
    )
    (wanted,) = theirs([names], tmp_path)
    reach = f"""
import importlib, operator
missing = []
for name in {wanted[0]["data"]["text/plain"]}:
    top, _, rest = name.partition('.')
    try:
        operator.attrgetter(rest)(importlib.import_module(top))
    except AttributeError:
        missing.append(name)
missing"""
    ((got,),) = asyncio.run(ours([reach], tmp_path))
    assert got["data"]["text/plain"] == "[]"
