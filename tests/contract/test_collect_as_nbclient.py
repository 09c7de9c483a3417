"""The executed notebook is the one that nbclient leaves, given what the kernel said."""

import json

import pytest
from nbclient import NotebookClient
from nbformat import v4

from jup2kub import ipynb
from jup2kub.collect import collect
from jup2kub.model.run import CellError, CellOutcome

CELLS = [
    "from IPython.display import display, HTML\nh = display('a', display_id='one')",
    "display('b', display_id='one'); display('c', display_id='two')\nprint('x')",
    "",
    "h.update(HTML('<b>')); 1 + 1",
    "display('d', display_id='two'); h.update('e'); display('f', display_id='one', metadata={'m': {}})",
    "1 / 0",
    "print('not reached')",
]


class Recording(NotebookClient):
    """Keeps what the kernel says, by cell."""

    def process_message(self, msg, cell, cell_index):
        self.said.setdefault(cell_index, []).append((msg["msg_type"], json.loads(json.dumps(msg["content"]))))
        return super().process_message(msg, cell, cell_index)


def outcome(index, said):
    """What an agent makes of the messages: its own displays updated in place, all updates told apart."""
    outputs, updates, count, error = [], [], None, None
    for kind, content in said:
        count = content.get("execution_count", count)
        display_id = (content.get("transient") or {}).get("display_id")
        shown = {key: content.get(key) for key in ("data", "metadata")}
        if kind == "update_display_data":
            updates.append({"display_id": display_id, **shown})
            for output in outputs:
                if output.get("transient", {}).get("display_id") == display_id:
                    output.update(shown)
        elif kind in ("display_data", "execute_result"):
            outputs.append({"output_type": kind, **shown, "transient": content.get("transient") or {}})
        elif kind == "stream":
            outputs.append({"output_type": kind, **content})
        elif kind == "error":
            error = CellError(content["ename"], content["evalue"], tuple(content["traceback"]))
    status = "error" if error else "ok"
    return CellOutcome(index, status, tuple(outputs), tuple(updates), count=count, error=error)


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
