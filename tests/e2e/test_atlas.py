"""The atlas example on the real data, with its neighbour: every endpoint answers what iso-codes and tzdata say."""

from __future__ import annotations

import datetime
import sys
import zoneinfo
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd, Mongo, Postgres
from support import good, problem

ATLAS = Path(__file__).resolve().parents[2] / "examples/atlas"
sys.path.insert(0, str(ATLAS))

import load  # noqa: E402

COUNTRIES = {entry["alpha_2"]: entry for entry in load.iso("3166-1")}
SUBDIVISIONS = {entry["code"]: entry for entry in load.iso("3166-2")}
CURRENCIES = {entry["alpha_3"]: entry for entry in load.iso("4217")}
LANGUAGES = {entry["alpha_3"]: entry for entry in load.iso("639-3")}
ZONES = {zone["_id"]: zone for zone in load.time_zones()}


@pytest.fixture(scope="module")
def databases(postgres: Postgres, mongo: Mongo) -> dict[str, str]:
    """The atlas's two databases, loaded; as the variables that its configurations read."""
    env = {"ATLAS_PG": postgres.create_database("atlas"), "ATLAS_MONGO": mongo.url("atlas")}
    load.load(env["ATLAS_PG"], env["ATLAS_MONGO"])
    return env


@pytest.fixture(scope="module")
def atlas(databases: dict[str, str], module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    neighbour = module_gatherd(ATLAS / "neighbour.yaml", env=databases)
    env = databases | {"NEIGHBOUR": f"http://127.0.0.1:{neighbour.port}"}
    return module_gatherd(ATLAS / "atlas.yaml", env=env)


def country(code: str) -> dict[str, Any]:
    return {"code": code, "name": COUNTRIES[code]["name"], "flag": COUNTRIES[code]["flag"]}


def of_countries(*codes: str) -> list[str]:
    """The time zones of these countries, by name."""
    return sorted(name for name, zone in ZONES.items() if set(codes) & set(zone["countries"]))


def tells_the_time(clock: dict[str, Any], zone: str) -> None:
    there = datetime.datetime.now(zoneinfo.ZoneInfo(zone))
    told = datetime.datetime.fromisoformat(clock["local_time"]).replace(tzinfo=there.tzinfo)
    assert abs(told - there) < datetime.timedelta(minutes=1)
    assert clock["minutes_ahead_of_utc"] == there.utcoffset() // datetime.timedelta(minutes=1)


# -- countries --


def test_a_country_is_gathered_whole(atlas):
    reply = atlas.get("/countries/CH")
    body = good(reply)
    assert reply.headers["Gatherd-Complete"] == "true"
    assert body["name"] == "Switzerland" and body["official_name"] == COUNTRIES["CH"]["official_name"]
    assert body["iso_3166"] == {"alpha_2": "CH", "alpha_3": "CHE", "numeric": "756"}
    assert [currency["_id"] for currency in body["own_currencies"]] == ["CHE", "CHF", "CHW"]
    cantons = sorted(code for code in SUBDIVISIONS if code.startswith("CH-"))
    assert [subdivision["code"] for subdivision in body["subdivisions"]] == cantons
    assert body["divided_into"] == [{"type": "Canton", "count": len(cantons)}]
    others = {code for zone in of_countries("CH") for code in ZONES[zone]["countries"]} - {"CH"}
    assert body["shares_a_time_zone_with"] == sorted(map(country, others), key=lambda other: other["name"])


@pytest.mark.parametrize("code", ["CH", "AQ", "US"])
def test_the_neighbours_clocks_are_joined_into_the_time_zones(atlas, code):
    zones = good(atlas.get(f"/countries/{code}"))["time_zones"]
    assert [zone["_id"] for zone in zones] == of_countries(code)
    for zone in zones:
        assert zone["clock"]["zone"] == zone["_id"]
        tells_the_time(zone["clock"], zone["_id"])


def test_a_country_without_a_time_zone_asks_no_clock(atlas):
    assert of_countries("BV") == []
    reply = atlas.get("/countries/BV")
    assert good(reply)["time_zones"] == []
    assert reply.headers["Gatherd-Complete"] == "true"


def test_countries_that_are_none(atlas):
    problem(atlas.get("/countries/XX"), 404, step="country")
    assert problem(atlas.get("/countries/ch"), 400)["errors"][0]["name"] == "code"


def test_the_list_of_countries(atlas):
    with_o = [entry for entry in COUNTRIES.values() if entry["name"].startswith("O")]
    body = good(atlas.get("/countries?starts=O"))
    assert body["total"] == len(with_o) > 0
    assert [entry["code"] for entry in body["countries"]] == [entry["alpha_2"] for entry in with_o]
    body = good(atlas.get("/countries?limit=7&offset=245"))
    assert body["total"] == len(COUNTRIES) and len(body["countries"]) == len(COUNTRIES) - 245
    assert body["countries"][-1]["name"] == "Zimbabwe"  # Åland is sorted as it is searched for, without its ring


def test_countries_side_by_side_with_their_currencies(atlas):
    body = good(atlas.get("/compare?codes=FR&codes=CH&codes=DE"))
    assert [entry["code"] for entry in body["countries"]] == ["FR", "CH", "DE"]
    for entry in body["countries"]:
        assert entry["subdivisions"] == sum(code.startswith(entry["code"] + "-") for code in SUBDIVISIONS)
        assert [one["_id"] for one in entry["currencies"]] == sorted(code for code in CURRENCIES if code.startswith(entry["code"]))
    assert [zone["_id"] for zone in body["time_zones"]] == of_countries("FR", "CH", "DE")
    assert "currencies" not in body


# -- what it consists of --


def test_subdivisions(atlas):
    london = good(atlas.get("/subdivisions/GB-LND"))
    assert london["name"] == SUBDIVISIONS["GB-LND"]["name"] and london["country"] == {"code": "GB", "name": "United Kingdom"}
    assert london["parent"]["code"] == "GB-ENG"
    england = good(atlas.get("/subdivisions/GB-ENG"))
    assert england["parent"] is None and "GB-LND" in [part["code"] for part in england["parts"]]
    problem(atlas.get("/subdivisions/GB-XXX"), 404)


def test_currencies_with_the_countries_of_their_codes(atlas):
    codes = sorted(CURRENCIES)
    body = good(atlas.get("/currencies?limit=30&offset=40"))
    assert body["total"] == len(codes)
    assert [entry["_id"] for entry in body["currencies"]] == codes[40:70]
    for entry in body["currencies"]:
        code = entry["_id"][:2]
        assert entry["country_of_its_code"] == (country(code) if code in COUNTRIES else None)


def test_a_currency(atlas):
    assert good(atlas.get("/currencies/CHF")) == {"code": "CHF", "name": "Swiss Franc", "numeric": "756", "country": country("CH")}
    assert good(atlas.get("/currencies/EUR"))["country"] is None
    problem(atlas.get("/currencies/XYZ"), 404)


def test_a_language(atlas):
    french = good(atlas.get("/languages/fra"))
    assert french["name"] == LANGUAGES["fra"]["name"] and french["alpha_2"] == "fr" and french["type"] == "living"
    problem(atlas.get("/languages/qqq"), 404)


def test_a_time_zone_its_clock_and_its_file(atlas):
    reply = atlas.get("/time-zones/Europe/Paris")
    body = good(reply)
    assert reply.headers["Gatherd-Complete"] == "true"
    assert body["location"] == ZONES["Europe/Paris"]["location"]
    assert body["countries"] == sorted(map(country, ZONES["Europe/Paris"]["countries"]), key=lambda one: one["name"])
    assert body["file"]["size"] == Path("/usr/share/zoneinfo/Europe/Paris").stat().st_size
    tells_the_time(body, "Europe/Paris")
    problem(atlas.get("/time-zones/Europe/Nowhere"), 404, step="zone")


# -- the rest --


def test_a_table_of_the_tz_database_is_sent(atlas):
    table = load.ZONES.read_bytes()
    reply = atlas.get("/tz/zone1970.tab")
    assert reply.status == 200 and reply.body == table
    assert reply.headers["Content-Type"] == "text/tab-separated-values; charset=utf-8"
    part = atlas.get("/tz/zone1970.tab", headers={"Range": "bytes=100-199"})
    assert part.status == 206 and part.body == table[100:200]
    assert atlas.get("/tz/zone1970.tab", headers={"If-None-Match": reply.headers["ETag"]}).status == 304
    problem(atlas.get("/tz/leapseconds"), 400)


def test_the_search_finds_names_whatever_their_accents(atlas):
    body = good(atlas.get("/search?q=zurich"))
    assert body["subdivisions"] == [{"code": "CH-ZH", "name": "Zürich", "type": "Canton", "country": "Switzerland"}]
    body = good(atlas.get("/search?q=france"))
    assert body["countries"][0]["code"] == "FR"
    body = good(atlas.get("/search?q=franc&limit=3"))
    assert "Swiss Franc" in [entry["name"] for entry in body["currencies"]]
    assert len(body["subdivisions"]) <= 3
    problem(atlas.get("/search?q=z"), 400)


def test_the_figures_are_kept_for_a_minute(atlas):
    reply = atlas.get("/stats")
    body = good(reply)
    assert (body["countries"], body["subdivisions"], body["currencies"]) == (len(COUNTRIES), len(SUBDIVISIONS), len(CURRENCIES))
    areas = Counter(zone["area"] for zone in ZONES.values())
    assert {entry["_id"]: entry["count"] for entry in body["time_zones"]} == areas
    assert body["most_divided"][0]["subdivisions"] >= body["most_divided"][-1]["subdivisions"]
    assert reply.headers["Cache-Control"] == "max-age=60, stale-while-revalidate=600"
    again = atlas.get("/stats", headers={"If-None-Match": reply.headers["ETag"], "Gatherd-Explain": "1"})
    assert again.status == 304 and again.headers["Server-Timing"] == 'cache;desc="hit"'


def test_without_the_neighbour_the_atlas_has_no_clocks(databases, gatherd):
    nobody = gatherd(ATLAS / "neighbour.yaml", env=databases, start=False)
    atlas = gatherd(ATLAS / "atlas.yaml", env=databases | {"NEIGHBOUR": f"http://127.0.0.1:{nobody.port}"})
    reply = atlas.get("/countries/CH")
    assert [zone["clock"] for zone in good(reply)["time_zones"]] == [None]
    assert (reply.headers["Gatherd-Complete"], reply.headers["Gatherd-Missing"]) == ("false", "clocks")
