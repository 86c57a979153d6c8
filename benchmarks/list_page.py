"""How long the studio takes for the list of endpoints of a workspace with 1,000 of them.

    python benchmarks/list_page.py [--endpoints 1000]

In a throw-away home with SQLite: every endpoint has one deployment with four replicas, every twentieth is being called
(3,600 samples of the last hour each), and one in fifty is in trouble. Prints one line of JSON: milliseconds of the
first look, of a whole page and of its refreshed region (median and worst of 20, through the whole of Django, without
the network), and the number of queries.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

os.environ["SLIPWAY_HOME"] = tempfile.mkdtemp(prefix="slipway-benchmark-")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from studio.models import Membership, Role, Workspace  # noqa: E402
from tests.deployments import world  # noqa: E402

TURNS = 20


def fill(workspace: Workspace, *, endpoints: int) -> None:
    """The workspace as described above."""
    target, now = world.make_target(workspace), timezone.now()
    model, environment = world.make_model(workspace), world.make_environment(workspace)
    for number in range(endpoints):
        endpoint = world.make_endpoint(workspace, target=target, name=f"model-{number:04}", traffic={"blue": 100})
        status = world.failed_rollout() if number % 50 == 7 else world.healthy("a", "b", "c", "d")
        blue = world.make_deployment(endpoint, name="blue", model=model, environment=environment, status=status)
        if number % 20 == 0:
            world.measure(blue, now=now, every=1, rps=40, turned_away=number % 100 == 0)


def measure(client: Client, url: str, **headers: str) -> dict[str, float]:
    """Median and worst milliseconds of an address, and its queries."""
    client.get(url, headers=headers)  # the first one also compiles templates
    taken = []
    for _ in range(TURNS):
        begun = time.perf_counter()
        assert client.get(url, headers=headers).status_code == 200
        taken.append((time.perf_counter() - begun) * 1000)
    with CaptureQueriesContext(connection) as queries:
        client.get(url, headers=headers)
    return {
        "median_ms": round(statistics.median(taken), 1),
        "worst_ms": round(max(taken), 1),
        "queries": len(queries),
        "sql_ms": round(sum(float(each["time"]) for each in queries) * 1000, 1),
    }


def main() -> None:
    """Fill a database, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=1000)
    count = parser.parse_args().endpoints
    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", verbosity=0)
    with transaction.atomic():
        workspace = Workspace.objects.create(name="harbour")
        alice = User.objects.create_user("alice")
        Membership.objects.create(workspace=workspace, user=alice, role=Role.OWNER)
        fill(workspace, endpoints=count)
    client = Client()
    client.force_login(alice)
    url = "/w/harbour/endpoints/"
    region = {"HX-Request": "true"}
    client.get("/w/harbour/models/")  # compiles the templates of the frame
    begun = time.perf_counter()
    client.get(url)
    first = round((time.perf_counter() - begun) * 1000, 1)
    told = {
        "endpoints": count,
        "first_ms": first,
        "page": measure(client, url),
        "last_page": measure(client, f"{url}?page=99"),
        "region": measure(client, f"{url}?region=endpoints", **region),
        "search": measure(client, f"{url}?find=model-09"),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
