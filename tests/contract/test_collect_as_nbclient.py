"""The executed notebook is the one that nbclient leaves, given what the kernel said."""

import json

import pytest
from nbclient import NotebookClient
from nbformat import v4

from jup2kub import ipynb
from jup2kub.agent.outputs import CellOutputs
from jup2kub.collect import collect
from jup2kub.model.run import CellError, CellOutcome

CELLS = [
    "from IPython.display import display, HTML\nh = display('a', display_id='one')",
    "display('b', display_id='one'); display('c', display_id='two')\nprint('x')",
    "",
    "h.update(HTML('<b>')); 1 + 1",
    "display('d', display_id='two'); h.update('e'); display('f', display_id='one', metadata={'m': {}})",
    "from IPython.display import clear_output\ndisplay('g', display_id='two'); clear_output(); h.update('i'); print('y')",
    "display('j', display_id='two'); display('k', display_id='two'); clear_output(wait=True); h.update('l'); print(1)",
    "1 / 0",
    "print('not reached')",
]


class Recording(NotebookClient):
    """Keeps what the kernel says, by cell."""

    def process_message(self, msg, cell, cell_index):
        self.said.setdefault(cell_index, []).append((msg["msg_type"], json.loads(json.dumps(msg["content"]))))
        return super().process_message(msg, cell, cell_index)


def outcome(index, said):
    """What the agent makes of the messages."""
    made, count, error = CellOutputs(), None, None
    for kind, content in said:
        count = content.get("execution_count", count)
        if kind == "stream":
            made.text(content["name"], content["text"])
        else:
            made.message(kind, content)
        if kind == "error":
            error = CellError(content["ename"], content["evalue"], tuple(content["traceback"]))
    status = "error" if error else "ok"
    return CellOutcome(index, status, tuple(made.outputs), tuple(made.updates), count=count, error=error)


@pytest.mark.kernel
def test_outputs_counts_and_updates_are_those_of_nbclient():
    node = v4.new_notebook(cells=[v4.new_code_cell(source) for source in CELLS])
    given = ipynb.read(json.dumps(node).encode(), "a.ipynb")
    client = Recording(node, kernel_name="python3", allow_errors=True)
    client.said = {}
    client.execute()
    last = CELLS.index("1 / 0")
    theirs = [(c["outputs"], c["execution_count"]) for c in json.loads(json.dumps(node))["cells"]]
    theirs[last + 1 :] = [([], None)] * (len(CELLS) - last - 1)
    document = collect(given, {index: outcome(index, said) for index, said in client.said.items()})
    assert [(c["outputs"], c["execution_count"]) for c in document["cells"]] == theirs
