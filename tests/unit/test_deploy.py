"""What lies in deploy/ is what its tools accept, and names only metrics that the service has."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from vetrina.serve.service import Service
from vetrina.store.shop_folder import ShopFolder

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("words", [("check", "rules", "vetrina.rules.yml"), ("test", "rules", "vetrina.test.yml")])
def test_prometheus_takes_the_rules(words):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(["promtool", *words], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_dashboard_name_metrics_that_exist(tmp_path):
    service = Service(ShopFolder(tmp_path))
    there = {f"{sample}" for sample in service.metrics.registry._names_to_collectors}
    service.event_log.close()
    service.engine.dispose()
    dashboard = (DEPLOY / "grafana" / "vetrina.json").read_text()
    named = set(re.findall(r"vetrina_[a-z_]+", (DEPLOY / "prometheus" / "vetrina.rules.yml").read_text()))
    for panel in json.loads(dashboard)["panels"]:
        named |= {m for t in panel["targets"] for m in re.findall(r"vetrina_[a-z_]+", t["expr"])}
    assert named <= there, named - there


def test_haproxy_takes_the_example():
    if shutil.which("haproxy") is None:
        pytest.skip("HAProxy is not installed: apt-get install haproxy")
    command = ["haproxy", "-c", "-f", str(DEPLOY / "haproxy" / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_takes_the_example(tmp_path):
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light openssl")
    certificate = ["-out", str(tmp_path / "shop.example.pem"), "-keyout", str(tmp_path / "shop.example.key")]
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop.example", *certificate]
    subprocess.run(["openssl", *words], capture_output=True, check=True)
    example = (DEPLOY / "nginx" / "vetrina.conf").read_text().replace("/etc/nginx/tls", str(tmp_path))
    paths = "access_log off;\n"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        paths += f"{kind}_temp_path {tmp_path}/{kind};\n"
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{paths}{example}\n}}\n")
    command = ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_systemd_takes_the_unit_for_several_shops(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    unit = (DEPLOY / "systemd" / "vetrina@.service").read_text()
    command = re.findall("^ExecStart=(.*)$", unit, re.M)
    assert [shlex.split(words)[1:] for words in command] == [["up"]]
    here = unit.replace(command[0], shutil.which("true") or "true").replace("=vetrina\n", "=root\n")
    for instance in ("grocer", "books-2"):
        file = tmp_path / f"vetrina@{instance}.service"
        file.write_text(here)
        words = ["systemd-analyze", "verify", "--man=no", str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        about_it = [line for line in done.stderr.splitlines() if "vetrina@" in line]
        assert (done.returncode, about_it) == (0, [])


def test_the_unit_leaves_little_of_the_system_open(tmp_path):
    """By systemd's own measure, from 0 (nothing) to 10 (everything)."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    file = shutil.copy(DEPLOY / "systemd/vetrina@.service", tmp_path / "vetrina@grocer.service")
    words = ["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=20", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]
