"""The dashboard and the alerts: all they ask for exists, and alerts fire when they should."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ppapi_async import AccountPhase
from ppapi_async.metrics.families import StatusReading, families
from ppapi_async.metrics.outcomes import RequestOutcome
from ppapi_async.metrics.prometheus import PrometheusHook

FOLDER = Path(str(files("ppapi_async.metrics") / "dashboards"))
ALERTS, DASHBOARD = FOLDER / "ppapi-alerts.yml", FOLDER / "ppapi-grafana.json"
RULES = re.compile(r"^ +- alert: (\w+)\n +expr: (?:>-\n((?: {10}.+\n)+)|(.+)\n)", re.MULTILINE)
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "info": ("_info",),
    "histogram": ("_bucket", "_count", "_sum"),
}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not here: apt-get install prometheus"
)


def dashboard() -> Any:
    """Return the dashboard as Grafana reads it."""
    return json.loads(DASHBOARD.read_text("utf-8"))


def panels() -> list[Any]:
    """Return what it shows."""
    return list(dashboard()["panels"])


def expressions() -> dict[str, str]:
    """Return what is asked for, by alert and panel."""
    asked = {
        name: " ".join((folded or plain).split())
        for name, folded, plain in RULES.findall(ALERTS.read_text("utf-8"))
    }
    for panel in panels():
        for target in panel.get("targets", ()):
            asked[f"{panel['title']} {target['refId']}"] = target["expr"]
    return asked


def known() -> dict[str, set[str]]:
    """Return the names that there are, and their labels."""
    found: dict[str, set[str]] = {}
    registry = CollectorRegistry()
    PrometheusHook(registry=registry)
    for family in itertools.chain(families(StatusReading(by_account=False)), registry.collect()):
        for suffix in SUFFIXES.get(family.type, ("",)):
            found[family.name + suffix] = {"host"}
    for name, labels in found.items():
        if name.startswith(("ppapi_request", "ppapi_rows", "ppapi_received", "ppapi_retries")):
            labels.add("method")
        if name.startswith("ppapi_request_duration"):
            labels |= {"outcome", "le"}
    found["ppapi_accounts"].add("phase")
    found["ppapi_mirror_rows"].add("resource")
    return found


def test_all_that_is_asked_for_exists() -> None:
    """Each metric, each label of it, each value of phases and outcomes."""
    names = known()
    for place, expression in expressions().items():
        used = re.findall(r"\b(ppapi_\w+)(?:\{([^}]*)\})?", expression)
        assert used, place
        labels = {"job", "instance"}
        for name, chosen in used:
            assert name in names, place
            labels |= names[name]
            by_name = dict(re.findall(r'(\w+)=~?"([^"]*)"', chosen))
            assert set(by_name) <= names[name], place
            for value in by_name.get("phase", "").split("|"):
                assert value in ("", *AccountPhase), place
            for value in by_name.get("outcome", "").split("|"):
                assert value in ("", *RequestOutcome), place
        for group in re.findall(r"(?:by|without) \(([^)]*)\)", expression):
            assert set(group.replace(" ", "").split(",")) <= labels, place


def test_every_metric_is_seen_somewhere() -> None:
    """What nobody looks at is not worth its series."""
    seen = set(re.findall(r"ppapi_\w+", " ".join(expressions().values())))
    unseen = {"ppapi_info", "ppapi_failures_in_a_row", "ppapi_request_duration_seconds_sum"}
    assert known().keys() - seen == unseen


def test_the_guide_names_every_metric_and_alert() -> None:
    """And none that does not exist."""
    guide = Path(__file__).parents[2].joinpath("docs/guides/metrics.md").read_text("utf-8")
    named = {name.partition("{")[0] for name in re.findall(r"`(ppapi_[a-z_{]+)", guide)}
    parts = ("_bucket", "_count", "_sum")
    metrics = {re.sub(f"({'|'.join(parts)})$", "", name) for name in known()}
    assert named - {"ppapi_async"} == metrics
    alerts = {name for name, _, _ in RULES.findall(ALERTS.read_text("utf-8"))}
    assert set(re.findall(r"`(Ppapi\w+)`", guide)) == alerts


def test_the_dashboard_is_one() -> None:
    """Panels have numbers of their own, do not overlap, and ask the source that is chosen."""
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
    variables = [one["name"] for one in dashboard()["templating"]["list"]]
    assert variables == ["datasource", "host"]


def test_every_alert_is_tried() -> None:
    """`alerts_test.yml` has each fire."""
    names = [name for name, _, _ in RULES.findall(ALERTS.read_text("utf-8"))]
    assert len(names) == ALERTS.read_text("utf-8").count("- alert:") > 9
    tried = Path(__file__).with_name("alerts_test.yml").read_text("utf-8")
    assert [name for name in names if f'alertname="{name}"' not in tried] == []


@needs_promtool
@pytest.mark.parametrize("check", ["check rules", "test rules"])
def test_promtool_agrees(check: str) -> None:
    """The rules are well-formed, and fire when they should, and not otherwise."""
    file = ALERTS if check == "check rules" else Path(__file__).with_name("alerts_test.yml")
    command = [str(PROMTOOL), *check.split(), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
