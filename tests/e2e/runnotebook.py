"""Runs the notebook of an image in an ordinary ipykernel, inside a container without network; prints what its cells print."""

import json
import sys

from jupyter_client.manager import KernelManager


def main():
    with open("/opt/j2k/notebook.json", encoding="utf-8") as opened:
        sources = json.load(opened)["sources"]
    # Not even a loopback device is up: Unix sockets.
    manager = KernelManager(kernel_name="python3", transport="ipc", ip="/tmp/kernel")
    manager.start_kernel(cwd="/tmp")
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    said = []

    def note(message):
        content = message["content"]
        if message["msg_type"] == "stream":
            said.append(content["text"])
        elif message["msg_type"] == "error":
            sys.exit("\n".join(content["traceback"]))

    for number in sorted(sources, key=int):
        client.execute_interactive(sources[number], timeout=120, output_hook=note)
    manager.shutdown_kernel(now=True)
    sys.stdout.write("".join(said))


if __name__ == "__main__":
    main()
