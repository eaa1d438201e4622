"""The command that loads a service to size its deployment."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import click

from vetrina.cli.context import CliContext
from vetrina.core.errors import BadInput

if TYPE_CHECKING:
    import ssl

    import httpx

    from vetrina.api.shop import Shop
    from vetrina.simulate.load_test import LoadResult, LoadStep, LoadTarget
    from vetrina.simulate.request_sample import RequestPool

_TOKEN = "VETRINA_TOKEN"  # noqa: S105 - the name of a variable
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TIMEOUT_SECONDS = 10.0  # of a request before and after the load
_LOCAL_NAME = "localhost"
_LATE_SHARE = 0.5  # of the target, by which the generator may be late without a remark


@click.command()
@click.option(
    "--url", help="Address of a running service, one process (default: one is started on a copy of the shop)."
)
@click.option("--allow-remote", is_flag=True, help="Load a --url that is not on this machine.")
@click.option(
    "--scenario", "scenarios", multiple=True, help="Scenario to send (default: those of the log); repeatable."
)
@click.option("--events", "with_events", is_flag=True, help="Send events, too.")
@click.option("--p99-ms", "target_ms", type=click.FloatRange(1.0), help="Target (default: [gate] latency_ms).")
@click.option(
    "--step-seconds", type=click.FloatRange(2.0, 600.0), default=10.0, show_default=True, help="Of each rate."
)
@click.option(
    "--peak",
    "peak_rate",
    type=click.FloatRange(0.1),
    default=1_000.0,
    show_default=True,
    help="Requests a second of all replicas.",
)
@click.pass_obj
def load(
    state: CliContext,
    url: str | None,
    allow_remote: bool,
    scenarios: Sequence[str],
    with_events: bool,
    target_ms: float | None,
    step_seconds: float,
    peak_rate: float,
) -> None:
    """Measure what a service carries, and size its deployment.

    Sends requests of the shop's own log, open loop (a Poisson process; latency counts from the scheduled time), and finds the
    rate at which the 99th percentile of latency passes the target. VETRINA_TOKEN replaces the token of the shop's keys/token.
    """
    from vetrina.api.shop import Shop
    from vetrina.simulate.load_test import LoadTest
    from vetrina.simulate.request_sample import sample_requests

    echo = functools.partial(click.echo, err=state.as_json)
    address = None if url is None else _parse_address(url, allow_remote)
    shop = Shop(state.shop_dir)
    if not shop.folder.has_released:
        raise BadInput(str(shop.folder.root), "has nothing released yet", "vetrina ingest, then vetrina run")
    pools = sample_requests(shop, scenarios, with_events=with_events)
    target_ms = target_ms or shop.folder.settings.gate.latency_ms
    with _service(shop, address, echo) as target:
        echo(_format_pools(pools))
        echo(f"one worker at {target.host}, p99 target {target_ms:g} ms, {step_seconds:g} s a step")
        test = LoadTest(
            target,
            pools,
            step_seconds=step_seconds,
            target_ms=target_ms,
            report=lambda step: echo(_format_step(step)),
        )
        result = test.run(peak_rate)
    if result is None:
        raise BadInput(
            f"p99 target {target_ms:g} ms", "is missed at 5 requests a second already", "raise it with --p99-ms"
        )
    shares = {pool.name: {"share": pool.share, "source": pool.source} for pool in pools}
    state.print_row({"requests": shares, **asdict(result)}, lambda _: _format_result(result))


def _parse_address(url: str, allow_remote: bool) -> SplitResult:
    """The parts of an address. Raises BadInput where it is none, or lies on another machine without leave."""
    try:
        address = urlsplit(url)
        is_complete = address.scheme in _DEFAULT_PORTS and bool(address.hostname) and address.port != 0
    except ValueError:
        is_complete = False
        address = urlsplit("")
    if not is_complete or address.query or address.username:
        raise BadInput(f"--url {url}", "is no address of a service", "write it like http://127.0.0.1:8337")
    if not allow_remote and not _is_loopback(str(address.hostname)):
        rule = "is not on this machine, and a load can bring a service down and fills its log"
        raise BadInput(f"--url {url}", rule, "add --allow-remote where that is meant")
    return address


def _is_loopback(host: str) -> bool:
    if host.lower() == _LOCAL_NAME:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _service(shop: "Shop", address: SplitResult | None, echo: Callable[[str], None]) -> Iterator["LoadTarget"]:
    """The service at an address, else one of a copy of the shop for as long as the context lasts."""
    token = os.environ.get(_TOKEN) or shop.folder.keys.api_token
    if address is not None:
        with _client(address.geturl(), token) as client:
            _check_service(client, address.geturl())
            echo(f"{address.geturl()} logs what it answers to this load as it does its visitors' requests")
            yield _running_target(client, address, token)
        return
    with _started_service(shop, shop.folder.keys.api_token) as target:
        yield target


def _client(url: str, token: str, tls: "ssl.SSLContext | None" = None) -> "httpx.Client":
    import httpx

    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, verify=tls or True)


def _check_service(client: "httpx.Client", url: str) -> None:
    """Raises BadInput where the service does not answer, is not ready, or refuses the token."""
    import httpx

    try:
        ready = client.get("/readyz")
        known = client.get("/v1/versions")
    except httpx.HTTPError as error:
        rule = f"does not answer ({type(error).__name__})"
        raise BadInput(f"--url {url}", rule, "start it with vetrina serve") from None
    if ready.status_code != 200:
        raise BadInput(f"--url {url}", f"is not ready (status {ready.status_code})", "wait, or see its /readyz")
    if known.status_code == 401:
        raise BadInput(f"--url {url}", "refuses the token", f"set {_TOKEN} to that of its keys/token")
    if known.status_code != 200:
        raise BadInput(f"--url {url}", f"is no service of a shop (status {known.status_code})", "check the address")


def _running_target(client: "httpx.Client", address: SplitResult, token: str) -> "LoadTarget":
    import ssl

    from vetrina.simulate.load_test import LoadTarget
    from vetrina.simulate.process_usage import ScrapedUsage

    port = address.port or _DEFAULT_PORTS[address.scheme]
    tls = ssl.create_default_context() if address.scheme == "https" else None
    return LoadTarget(
        address=(str(address.hostname), port),
        host=address.netloc,
        prefix=address.path.rstrip("/"),
        token=token,
        usage=ScrapedUsage(client),
        tls=tls,
    )


@contextmanager
def _started_service(shop: "Shop", token: str) -> Iterator["LoadTarget"]:
    from vetrina.simulate.load_test import LoadTarget
    from vetrina.simulate.process_usage import LocalUsage
    from vetrina.simulate.processes import start_command
    from vetrina.simulate.shop_copy import copy_of_shop

    with copy_of_shop(shop.folder) as folder:
        try:
            service, url = start_command(folder, "serve", "--host", "127.0.0.1", "--port", "0")
        except RuntimeError:
            raise BadInput(
                str(shop.folder.root), "has a service that does not start", "vetrina serve says why"
            ) from None
        try:
            address = urlsplit(url)
            tls = _own_process_tls() if address.scheme == "https" else None
            with _client(url, token, tls) as client:
                _wait_until_ready(client, shop)
            yield LoadTarget(
                address=(str(address.hostname), int(address.port or 0)),
                host=address.netloc,
                prefix="",
                token=token,
                usage=LocalUsage(service.pid),
                tls=tls,
            )
        finally:
            service.terminate()
            service.wait()


def _wait_until_ready(client: "httpx.Client", shop: "Shop") -> None:
    from vetrina.simulate.processes import wait_until_ready

    try:
        wait_until_ready(client)
    except RuntimeError as error:
        raise BadInput(str(shop.folder.root), str(error), "vetrina serve and its /readyz say why") from None


def _own_process_tls() -> "ssl.SSLContext":
    """TLS to a child of this process, whose certificate is for the shop's public name."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _format_pools(pools: "Sequence[RequestPool]") -> str:
    lines = ["requests:"]
    for pool in pools:
        lines.append(f"  {pool.name:<10} {pool.share:>4.0%}  {len(pool.bodies):,} from {pool.source}")
    return "\n".join(lines)


def _format_step(step: "LoadStep") -> str:
    line = f"  {step.rate:>7,.0f}/s  p50 {step.p50_ms:.1f}, p95 {step.p95_ms:.1f}, p99 {step.p99_ms:.1f} ms"
    line += f"  {step.in_flight:.2f} in flight"
    if step.cpu_ms is not None:
        line += f"  {step.cpu_ms:.2f} CPU-ms a request"
    if step.failed:
        line += f"  failed: {_format_counts(step.failures)}"
    return line if step.keeps_target else f"{line}  over the target"


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _format_result(result: "LoadResult") -> str:
    lines = [
        f"sustained: {result.sustained_rate:,.0f} requests a second and worker with p99 within {result.target_ms:g} ms",
        f"at half of it\n{_format_step(result.autoscaled)}",
        f"at four fifths\n{_format_step(result.fixed)}",
    ]
    by_kind = [f"{name} {value:.1f} ms" for name, value in result.fixed.p99_ms_by_kind.items()]
    lines.append(f"  p99 by scenario: {', '.join(by_kind)}")
    if result.memory_mb is not None:
        lines.append(f"memory: {result.memory_mb:.0f} MB {result.memory_kind} at most")
    lines += _format_sizing(result)
    late_ms = max(result.autoscaled.late_ms, result.fixed.late_ms)
    if late_ms > _LATE_SHARE * result.target_ms:
        lines.append(
            f"note: the generator was up to {late_ms:.0f} ms late, which counts as latency: this machine is busy with other work"
        )
    return "\n".join(lines)


def _format_sizing(result: "LoadResult") -> list[str]:
    sizing = result.sizing
    lines = [
        "sizing of a replica with one worker:",
        f"  autoscale at {sizing.in_flight:.2f} requests in flight a replica (its mean at half of the sustained rate)",
        f"  or {sizing.replicas:,} replicas for {sizing.peak_rate:,.0f} requests a second (four fifths of it each)",
    ]
    if sizing.cpu_request is not None:
        lines.append(f"  CPU: request {sizing.cpu_request:g}, limit {sizing.cpu_limit:g} cores")
    if sizing.memory_request_mb is not None:
        lines.append(f"  memory: request {sizing.memory_request_mb} Mi, limit {sizing.memory_limit_mb} Mi")
    return lines
