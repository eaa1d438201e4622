"""What lies in deploy/ is what its tools accept, and names only metrics that the service has."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

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
        named |= {m for t in panel.get("targets", ()) for m in re.findall(r"vetrina_[a-z_]+", t["expr"])}
    assert named <= there, named - there


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "vetrina.rules.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    fires = set()
    silent = set()
    for test in yaml.safe_load((DEPLOY / "prometheus" / "vetrina.test.yml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else silent).add(case["alertname"])
    assert alerts <= fires & silent, alerts - (fires & silent)


def test_the_page_lists_every_metric(tmp_path):
    service = Service(ShopFolder(tmp_path))
    page = (DEPLOY.parent / "docs" / "how-to" / "logs-and-metrics.md").read_text()
    tables = page.split("## The metrics")[1].split("## What is tested")[0]
    shown = set()
    for family in service.metrics.registry.collect():
        shown.add(f"{family.name}_total" if family.type == "counter" else family.name)
    service.event_log.close()
    service.engine.dispose()
    own = {name for name in shown if name.startswith("vetrina_")}
    assert set(re.findall(r"`(vetrina_[a-z_]+)`", tables)) == own


def test_filebeat_reads_lines_as_they_are_written():
    config = yaml.safe_load((DEPLOY / "filebeat" / "filebeat.yml").read_text())
    assert {reader["type"] for reader in config["filebeat.inputs"]} == {"filestream", "journald"}
    for reader in config["filebeat.inputs"]:
        names = [name for parser in reader["parsers"] for name in parser]
        assert names in (["ndjson"], ["container", "ndjson"])
        options = reader["parsers"][-1]["ndjson"]
        assert options == {
            "target": "",
            "overwrite_keys": True,
            "expand_keys": True,
            "add_error_key": True,
            "ignore_decoding_error": True,
        }
    assert [sorted(processor) for processor in config["processors"]] == [["add_host_metadata"], ["add_cloud_metadata"]]


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
