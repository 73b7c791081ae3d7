"""A report, no test: OpenBao's agent and ours, each with a hundred templates of one secret each, on its own store.

OpenBao's agent asks its server in intervals; it gets the shortest one that makes sense here, a second, where the default
is five minutes. What is compared is what a user has: from start to all files, from a change to its file, memory and
processor time while nothing happens.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

COUNT = 100
CHANGES = 20
IDLE = 20
ROOT = pathlib.Path(__file__).resolve().parents[2]
CLOAKROOM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/cloakroom"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_text(path, text):
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_text() != text:
        if time.monotonic() > deadline:
            sys.exit(f"{path} does not become what it should")
        time.sleep(0.0005)


def processor_time(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def measure(start, change, path):
    began = time.monotonic()
    process = start()
    try:
        for number in range(COUNT):
            await_text(path(number), "first\n")
        rendered = time.monotonic() - began
        delays = []
        for number in range(CHANGES):
            change(number, f"changed-{number}")
            began = time.monotonic()
            await_text(path(number), f"changed-{number}\n")
            delays.append(time.monotonic() - began)
        before = processor_time(process.pid)
        time.sleep(IDLE)
        idle = (processor_time(process.pid) - before) / IDLE * 100
        delays.sort()
        return {
            "files_after_ms": rendered * 1000,
            "change_p50_ms": delays[len(delays) // 2] * 1000,
            "change_most_ms": delays[-1] * 1000,
            "resident_mib": resident(process.pid),
            "idle_cpu_percent": idle,
        }
    finally:
        process.terminate()
        process.wait(timeout=30)


def openbao(directory, bao):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {"HOME": str(directory), "VAULT_ADDR": address, "BAO_ADDR": address, "PATH": os.environ["PATH"]}
    log = open(directory / "log", "wb")
    server = subprocess.Popen(
        [bao, "server", "-dev", "-dev-root-token-id=root", f"-dev-listen-address=127.0.0.1:{port}"],
        env=environment, stdout=log, stderr=log,
    )

    def put(number, value):
        body = json.dumps({"data": {"value": value}}).encode()
        request = urllib.request.Request(
            f"{address}/v1/secret/data/k{number}", data=body, method="POST", headers={"X-Vault-Token": "root"}
        )
        urllib.request.urlopen(request, timeout=5).read()

    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                put(0, "first")
                break
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit("OpenBao does not start: " + (directory / "log").read_text())
                time.sleep(0.1)
        for number in range(COUNT):
            put(number, "first")
        (directory / "token").write_text("root")
        config = [
            'template_config { static_secret_render_interval = "1s" }',
            f'vault {{ address = "{address}" }}',
            f'auto_auth {{ method "token_file" {{ config = {{ token_file_path = "{directory}/token" }} }} }}',
        ]
        for number in range(COUNT):
            contents = f'{{{{ with secret \\"secret/data/k{number}\\" }}}}{{{{ .Data.data.value }}}}{{{{ end }}}}\\n'
            config.append(f'template {{ contents = "{contents}" destination = "{directory}/files/f{number}" }}')
        (directory / "agent.hcl").write_text("\n".join(config))
        start = lambda: subprocess.Popen(
            [bao, "agent", f"-config={directory}/agent.hcl"], env=environment, stdout=log, stderr=log
        )
        return measure(start, put, lambda number: directory / f"files/f{number}")
    finally:
        server.terminate()
        server.wait(timeout=30)


def ours(directory):
    uid = os.getuid()
    (directory / "grants.yaml").write_text(
        f'grants: [{{subject: "uid:{uid}", rights: [secrets_read, secrets_write, onboarding_write], scopes: ["*"]}}]\n'
    )
    identifier = "poc:eni--hyperion:my-app:externalSecrets/k{}:"
    files = [
        {"name": f"f{number}", "destination": f"f{number}", "template": "{{ secret('" + identifier.format(number) + "') }}\n"}
        for number in range(COUNT)
    ]
    (directory / "cloakroom.yaml").write_text(json.dumps({
        "listen": {"socket": f"{directory}/run/agent.sock", "allowUids": [uid], "admin": ""},
        "backend": {"kind": "embedded", "embedded": {"file": f"{directory}/store.redb", "keyFile": f"{directory}/store.key"}},
        "identity": {"kind": "uid"},
        "permissions": {"kind": "file", "file": f"{directory}/grants.yaml"},
        "audit": {"sink": "file", "file": "/dev/null"},
        "renderSets": [{"directory": f"{directory}/files", "files": files}],
    }))
    log = open(directory / "log", "wb")
    start = lambda: subprocess.Popen(
        [CLOAKROOM, "agent", "--config", directory / "cloakroom.yaml"], env={}, stdout=log, stderr=log
    )
    client = lambda *words, text=None: subprocess.run(
        [CLOAKROOM, "--socket", f"{directory}/run/agent.sock", *words], env={}, input=text, check=True, capture_output=True
    )
    # The secrets are there before the agent that is measured is.
    agent = start()
    deadline = time.monotonic() + 20
    while not (directory / "run/agent.sock").exists():
        if time.monotonic() > deadline:
            sys.exit("the agent does not start: " + (directory / "log").read_text())
        time.sleep(0.01)
    entries = [f"--secret=externalSecrets/k{number}=first" for number in range(COUNT)]
    client("onboard", "app", "poc", "eni--hyperion", "my-app", *entries)
    agent.terminate()
    agent.wait(timeout=30)
    shutil.rmtree(directory / "files")

    def change(number, value):
        client("put", identifier.format(number), "-", text=value.encode())

    return measure(start, change, lambda number: directory / f"files/f{number}")


def main():
    bao = sys.argv[1]
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as one, tempfile.TemporaryDirectory(dir=memory) as other:
        rows = {"OpenBao's agent": openbao(pathlib.Path(one), bao), "cloakroom": ours(pathlib.Path(other))}
    names = list(next(iter(rows.values())))
    print(f"{'':<18}" + "".join(f"{name:>20}" for name in names))
    for who, row in rows.items():
        print(f"{who:<18}" + "".join(f"{row[name]:>20.2f}" for name in names))


if __name__ == "__main__":
    main()
