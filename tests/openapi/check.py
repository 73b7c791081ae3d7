"""Holds the agent to its OpenAPI document: a validator reads the document, schemathesis asks the agent everything in it.

Both are other people's tools. They speak TCP, so a small relay on the loopback interface carries their bytes to the
agent's Unix socket as they are.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

from openapi_spec_validator import validate

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "agent/src/api/openapi.json"


def start_agent(directory):
    uid = os.getuid()
    (directory / "grants.yaml").write_text(
        f'grants: [{{subject: "uid:{uid}", rights: [secrets_read, secrets_write, onboarding_write], scopes: ["*"]}}]\n'
    )
    (directory / "cloakroom.yaml").write_text(
        f"listen: {{socket: {directory}/run/agent.sock, allowUids: [{uid}], admin: ''}}\n"
        f"backend: {{kind: embedded, embedded: {{file: {directory}/store.redb, keyFile: {directory}/store.key}}}}\n"
        "identity: {kind: uid}\n"
        f"permissions: {{kind: file, file: {directory}/grants.yaml}}\n"
        "audit: {sink: file, file: /dev/null}\n"
        "limits: {callerRate: 1000000, callerBurst: 1000000}\n"
    )
    binary = next(path for path in (ROOT / "target/release/cloakroom", ROOT / "target/debug/cloakroom") if path.exists())
    log = open(directory / "log", "wb")
    agent = subprocess.Popen([binary, "agent", "--config", directory / "cloakroom.yaml"], stdout=log, stderr=log, env={})
    path = str(directory / "run/agent.sock")
    deadline = time.monotonic() + 20
    while True:
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(path)
            return agent, path
        except OSError:
            if time.monotonic() > deadline or agent.poll() is not None:
                sys.exit("the agent does not start: " + (directory / "log").read_text())
        finally:
            probe.close()


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for side, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
            try:
                side.shutdown(how)
            except OSError:
                pass


def relay(path):
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve():
        while True:
            client, _ = listener.accept()
            agent = socket.socket(socket.AF_UNIX)
            agent.connect(path)
            for pair in ((client, agent), (agent, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def main():
    document = json.loads(DOCUMENT.read_text())
    validate(document)
    print("the document is valid OpenAPI", document["openapi"])
    with tempfile.TemporaryDirectory() as name:
        agent, path = start_agent(pathlib.Path(name))
        try:
            port = relay(path)
            command = [
                pathlib.Path(sys.executable).with_name("schemathesis"),
                "--config-file",
                ROOT / "tests/openapi/schemathesis.toml",
                "run",
                DOCUMENT,
                "--url",
                f"http://127.0.0.1:{port}",
                "--checks",
                "all",
                "--mode",
                "all",
                "--max-examples",
                "60",
                "--seed",
                "1",
                "--workers",
                "1",
                "--request-timeout",
                "20",
                "--no-color",
            ]
            result = subprocess.run(command, cwd=name, check=False)
        finally:
            agent.terminate()
            agent.wait(timeout=30)
    sys.exit(result.returncode)


if __name__ == "__main__":
    main()
