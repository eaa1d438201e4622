"""The Ansible role on a machine of its own, reached by SSH, whose services systemd runs."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers import free_port, wait_for
from test_containers import ask, write_products

pytestmark = [pytest.mark.ansible, pytest.mark.timeout(3_600)]

ROOT = Path(__file__).parents[2]
TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
SHOPS = Path("/var/lib/vetrina")
LATER = "99.0"
# Units have namespaces of their own: systemd may make them, and the test may look into them. The network is this machine's.
SYSTEMD = (
    "--systemd=always",
    "--network=host",
    "--cap-add=SYS_ADMIN,SYS_PTRACE",
    "--security-opt=seccomp=unconfined",
)


@dataclass(frozen=True)
class PlaybookResult:
    """What a run of the playbook printed.

    Attributes:
        changed: Tasks that changed something.
        failed: Whether a task failed.
        message: The line of the task that failed; empty where none did.
        output: All of it.
    """

    changed: int
    failed: bool
    message: str
    output: str


@dataclass(frozen=True)
class Machine:
    """A container with systemd, and the inventory by which Ansible knows it."""

    podman: Any
    name: str
    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)

    def play(self, **variables: Any) -> PlaybookResult:
        """Run the playbook as a user does; ``variables`` go before those of the inventory."""
        command = ["ansible-playbook", "-i", self.folder / "inventory.yml", ROOT / "deploy/ansible/site.yml"]
        command += ["-e", json.dumps({**self.variables, **variables})]
        environment = {**self.podman.environment, "ANSIBLE_PIPELINING": "1", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        changed = re.search(r"changed=(\d+)", done.stdout)
        assert changed, done.stdout
        messages = re.findall(r'^fatal: .*"msg": "((?:[^"\\]|\\.)*)"', done.stdout, re.M)
        messages += re.findall(r'^failed: .*"msg": "((?:[^"\\]|\\.)*)"', done.stdout, re.M)
        message = messages[-1] if messages else ""
        return PlaybookResult(int(changed[1]), done.returncode != 0, message, done.stdout[-6_000:])

    def run(self, *words: str, check: bool = True) -> str:
        """What a command prints there."""
        return self.podman.run("exec", self.name, *words, check=check).stdout.strip()

    def vetrina(self, shop: str, *words: str) -> str:
        """What a command of Vetrina prints for a shop there, as its user."""
        command = ("runuser", "-u", "vetrina", "--", "/opt/vetrina/bin/vetrina", "--shop-dir", str(SHOPS / shop))
        return self.run(*command, *words)

    def version(self) -> str:
        return self.run("/opt/vetrina/bin/vetrina", "--version").split()[-1]


def build_wheel(folder: Path, version: str | None = None) -> Path:
    """The wheel of this clone, as `make dist` builds it; or of the same code under another version."""
    source = folder / f"source-{version}"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for file in listed.stdout.splitlines():
        if file.startswith("src/") or "/" not in file:
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, source / file)
    if version is not None:
        replace_line(source / "pyproject.toml", "version", version)
        replace_line(source / "src/vetrina/core/version.py", "VERSION", version)
    into = folder / f"dist-{version}"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", into, source], check=True, capture_output=True)
    return next(into.glob("vetrina-*.whl"))


def replace_line(file: Path, name: str, value: str) -> None:
    """Give a name another value in the first line of a file that begins with it."""
    text, n_replaced = re.subn(f'^{name} = ".*"', f'{name} = "{value}"', file.read_text(), count=1, flags=re.M)
    assert n_replaced == 1
    file.write_text(text)


@pytest.fixture(scope="module")
def machine(podman, build_options, tmp_path_factory) -> Iterator[Machine]:
    """A machine that has nothing of Vetrina."""
    for tool in ("ansible-playbook", "ssh"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install ansible-core openssh-client")
    folder = tmp_path_factory.mktemp("ansible")
    file = ROOT / "tests/containers/machine.Containerfile"
    podman.run("build", "--quiet", *build_options, "--tag=machine", f"--file={file}", file.parent)
    mounts = [option for option in build_options if option.startswith("--volume=")]
    port = free_port()
    podman.run("run", "--detach", "--name=machine", *SYSTEMD, *mounts, "machine")
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        setup = f"""
            install -d -m 0700 /root/.ssh
            echo '{(folder / "key.pub").read_text().strip()}' > /root/.ssh/authorized_keys
            printf 'Port {port}\\nListenAddress 127.0.0.1\\n' > /etc/ssh/sshd_config.d/test.conf
            ssh-keygen -A
        """
        podman.run("exec", "machine", "sh", "-euc", setup)
        wait_for(
            lambda: "running" in podman.run("exec", "machine", "systemctl", "is-system-running", check=False).stdout
        )
        podman.run("exec", "machine", "systemctl", "start", "ssh")
        host = {
            "ansible_host": "127.0.0.1",
            "ansible_port": port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(folder / "key"),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        # JSON is YAML.
        (folder / "inventory.yml").write_text(json.dumps({"vetrina": {"hosts": {"machine": host}}}))
        has_torch_here = "--build-arg=TORCH_INDEX=" in build_options
        variables = {
            "vetrina_wheel": str(build_wheel(folder)),
            "vetrina_constraints": str(ROOT / "constraints.txt"),
            "vetrina_pip_options": [] if has_torch_here else ["--extra-index-url", TORCH_FOR_CPUS],
        }
        yield Machine(podman, "machine", folder, variables)
    finally:
        podman.run("rm", "--force", "--time", "0", "machine", check=False)


def shop(name: str, port: int, **settings: dict[str, Any]) -> dict[str, Any]:
    """A shop of the inventory."""
    return {"name": name, "settings": {"serve": {"port": port}, **settings}}


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"vetrina_wheel": "/nowhere/vetrina-1.0-py3-none-any.whl"}, "is no file of this machine"),
        ({"vetrina_python": "/usr/local/bin/python3.9"}, "is 3.9, but Vetrina needs 3.11 or later"),
        ({"vetrina_python": "/usr/bin/python2"}, "is no Python"),
        ({"vetrina_shops": [{"name": "a"}, {"name": "b"}]}, "must differ in name"),
        ({"vetrina_shops": [{"name": "../b"}]}, "must differ in name"),
        ({"vetrina_shops": [{"title": "b"}]}, "missing required arguments: name"),
        ({"vetrina_state": "upgraded"}, "value of vetrina_state must be one of"),
        ({"vetrina_state": "rolled_back"}, "There is no upgrade on record to undo"),
    ],
)
def test_a_mistake_gets_one_line_and_changes_nothing(machine, variables, reason):
    result = machine.play(**variables)
    assert result.failed
    assert (result.changed, reason in result.message) == (0, True), result.output


def event(port: int, name: str) -> dict[str, int] | None:
    """What the service says about an event; it is new only once."""
    return ask(port, "/v1/events", {"event_id": name, "user_id": "ann", "type": "view", "product_id": "p001"})


def finds(port: int) -> bool:
    answer = ask(port, "/v1/search", {"query": "red chair", "limit": 3})
    return bool(answer and answer["items"])


def test_a_machine_is_installed_upgraded_rolled_back_and_removed(machine, tmp_path):
    ports = [free_port() for _ in range(10)]
    two = [shop("grocer", ports[0]), shop("books", ports[1], log={"format": "json"})]
    installed = machine.play(vetrina_shops=two)
    assert not installed.failed, installed.output
    assert machine.run("stat", "-c", "%a %U", str(SHOPS / "books"), str(SHOPS / "books/vetrina.toml")).split() == [
        *("700", "vetrina"),
        *("600", "vetrina"),
    ]
    assert machine.run("systemctl", "is-enabled", "vetrina@books") == "enabled"
    assert machine.run("systemctl", "is-active", "vetrina@books", check=False) == "inactive", "it has no data yet"
    again = machine.play(vetrina_shops=two)
    assert (again.failed, again.changed) == (False, 0), again.output

    # The first data; what was trained once stands for all shops.
    data = write_products(tmp_path / "data") / "products.csv"
    machine.podman.run("cp", data, f"{machine.name}:/srv/products.csv")
    machine.run("chmod", "a+r", "/srv/products.csv")
    machine.vetrina("grocer", "ingest", "--products", "/srv/products.csv")
    machine.vetrina("grocer", "run", "search")
    ten = [*two, *(shop(f"shop-{i}", ports[i]) for i in range(2, 10))]
    for entry in ten[1:]:
        folder = SHOPS / entry["name"]
        machine.run(
            "sh", "-euc", f"mkdir -p -m 0700 {folder}; cp -a {SHOPS}/grocer/. {folder}; rm {folder}/vetrina.toml"
        )
    started = machine.play(vetrina_shops=ten)
    assert not started.failed, started.output
    for port in ports:
        wait_for(lambda port=port: finds(port), lambda: machine.run("journalctl", "-n", "50"))
    process = machine.run("systemctl", "show", "--value", "--property=MainPID", "vetrina@books")
    assert machine.run("ls", f"/proc/{process}/root{SHOPS}") == "books", "it does not see the others"
    again = machine.play(vetrina_shops=ten)
    assert (again.failed, again.changed) == (False, 0), again.output
    for entry in ten[2:]:
        machine.run("systemctl", "disable", "--now", f"vetrina@{entry['name']}")
        machine.run("rm", "-r", str(SHOPS / entry["name"]))

    # Mistakes of which the installed release knows.
    mistakes = [
        (shop("books", ports[1], serve={"prot": 1}), "unknown field `prot`"),
        (shop("books", ports[1], store={"url": "postgresql://vetrina@127.0.0.1:1/shop"}), "No shop was changed"),
    ]
    for wrong, reason in mistakes:
        refused = machine.play(vetrina_shops=[two[0], wrong])
        assert (refused.failed, refused.changed) == (True, 0), refused.output
        assert reason in refused.message
        assert finds(ports[1])
    later = str(build_wheel(machine.folder, LATER))
    refused = machine.play(vetrina_shops=two, vetrina_wheel=later)
    assert (refused.failed, refused.changed) == (True, 0), refused.output
    assert "vetrina_backup_recipient is empty, but an upgrade" in refused.message

    # Upgrade, after a backup.
    machine.run("/opt/vetrina/bin/vetrina", "backup-key", "/root/identity")
    machine.podman.run("cp", f"{machine.name}:/root/identity", machine.folder / "identity")
    machine.run("rm", "/root/identity")
    recipient = re.search(r"age1[a-z0-9]+", (machine.folder / "identity").read_text())
    assert recipient
    key = {"vetrina_shops": two, "vetrina_backup_recipient": recipient[0]}
    earlier = machine.version()
    assert event(ports[0], "before") == {"accepted": 1, "new": 1}
    upgraded = machine.play(**key, vetrina_wheel=later)
    assert not upgraded.failed, upgraded.output
    assert machine.version() == LATER
    wait_for(lambda: event(ports[0], "before") == {"accepted": 1, "new": 0})
    assert event(ports[0], "after") == {"accepted": 1, "new": 1}
    backups = "/var/backups/vetrina/grocer"
    assert f"before-{LATER}" in machine.run("ls", backups)
    wait_for(lambda: "grocer-" in machine.run("ls", backups), lambda: machine.run("journalctl", "-n", "50"), 360)
    again = machine.play(**key, vetrina_wheel=later)
    assert (again.failed, again.changed) == (False, 0), again.output

    # An upgrade that was cut off is finished by the same wheel, and by no other.
    record = "/opt/vetrina-releases/last-upgrade.json"
    machine.run("sed", "-i", "s/finished/started/", record)
    refused = machine.play(**key)
    assert (refused.failed, refused.changed) == (True, 0), refused.output
    assert "was cut off" in refused.message
    finished = machine.play(**key, vetrina_wheel=later)
    assert not finished.failed, finished.output
    assert json.loads(machine.run("cat", record))["state"] == "finished"

    # Back to the backup, together with the earlier Vetrina.
    refused = machine.play(**key, vetrina_state="rolled_back")
    assert (refused.failed, refused.changed) == (True, 0), refused.output
    assert "the private key opens the backups" in refused.message
    back = {**key, "vetrina_state": "rolled_back", "vetrina_backup_identity": str(machine.folder / "identity")}
    rolled_back = machine.play(**back)
    assert not rolled_back.failed, rolled_back.output
    assert machine.version() == earlier
    wait_for(lambda: event(ports[0], "before") == {"accepted": 1, "new": 0})
    assert event(ports[0], "after") == {"accepted": 1, "new": 1}, "what came in after the backup is not in it"
    wait_for(lambda: finds(ports[1]))
    assert machine.run("ls", "/run/vetrina-backup-identity", check=False).endswith("No such file or directory")
    again = machine.play(**back)
    assert (again.failed, again.changed) == (False, 0), again.output

    # Removed, at first without the data.
    assert not machine.play(vetrina_state="absent").failed
    assert machine.run("systemctl", "list-units", "--all", "--no-legend", "vetrina*") == ""
    assert machine.run("ls", "/opt", "/etc/systemd/system").find("vetrina") == -1
    assert machine.run("ls", str(SHOPS / "grocer/keys"))
    again = machine.play(vetrina_state="absent")
    assert (again.failed, again.changed) == (False, 0), again.output
    assert not machine.play(vetrina_state="absent", vetrina_remove_data=True).failed
    assert machine.run("ls", "/var/lib", "/var/backups").find("vetrina") == -1
