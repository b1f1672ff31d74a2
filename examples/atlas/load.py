#!/usr/bin/python3
"""Load the atlas: countries, subdivisions, currencies, languages and time zones from Debian's iso-codes and tzdata.

    load.py [--postgres URL] [--mongodb URL]

Countries and subdivisions go to PostgreSQL (schema `atlas`), the rest to MongoDB. What an earlier run loaded is
replaced. The URLs default to $ATLAS_PG and $ATLAS_MONGO. Only the standard library and psql are needed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from harness.mongo import MongoClient, MongoError  # noqa: E402

ISO_CODES = Path("/usr/share/iso-codes/json")
ZONES = Path("/usr/share/zoneinfo/zone1970.tab")

LANGUAGE_SCOPES = {"I": "individual", "M": "macrolanguage", "S": "special"}
LANGUAGE_TYPES = {"A": "ancient", "C": "constructed", "E": "extinct", "H": "historical", "L": "living", "S": "special"}


def iso(standard: str) -> list[dict[str, str]]:
    """The entries of one of iso-codes' files."""
    return json.loads((ISO_CODES / f"iso_{standard}.json").read_text())[standard]


def psql(url: str, script: str) -> str:
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"],
        input=script,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"load: {done.stderr.strip()}")
    return done.stdout


def copy(table: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """The psql lines that fill a table."""
    escapes = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
    lines = ["\t".join(r"\N" if value is None else str(value).translate(escapes) for value in row) for row in rows]
    return "\n".join([f"copy {table} ({', '.join(columns)}) from stdin;", *lines, r"\.", ""])


def load_postgres(url: str, countries: list[dict[str, str]]) -> dict[str, int]:
    subdivisions = iso("3166-2")

    def parent(entry: dict[str, str]) -> str | None:
        """In full: many files say ARA and mean FR-ARA."""
        code = entry.get("parent")
        return code if code is None or "-" in code else f"{entry['code'][:2]}-{code}"

    keys = ["alpha_2", "alpha_3", "numeric", "name", "official_name", "common_name", "flag"]
    psql(
        url,
        "set client_min_messages = warning;\nbegin;\n"
        + (HERE / "schema.sql").read_text()
        + copy(
            "atlas.countries",
            ["alpha_2", "alpha_3", "numeric_code", "name", "official_name", "common_name", "flag"],
            ([entry.get(key) for key in keys] for entry in countries),
        )
        + copy(
            "atlas.subdivisions",
            ["code", "country", "name", "type", "parent"],
            ([entry["code"], entry["code"][:2], entry["name"], entry["type"], parent(entry)] for entry in subdivisions),
        )
        + "commit;\nanalyze atlas.countries, atlas.subdivisions;\n",
    )
    return {"countries": len(countries), "subdivisions": len(subdivisions)}


def words(url: str, **collections: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """An index of words: for each that stands in a name, what has it, by collection. PostgreSQL folds the names, as it
    does what is searched for."""
    entries = [
        (what, {"code": document["_id"], "name": document["name"]})
        for what in collections
        for document in collections[what]
    ]
    folded = psql(
        url,
        "create temporary table texts (n int, t text);\n"
        + copy("texts", ["n", "t"], ((n, entry["name"]) for n, (_, entry) in enumerate(entries)))
        + "select to_json(atlas.folded(t)) from texts order by n;\n",
    )
    index: dict[str, dict[str, Any]] = {}
    for (what, entry), line in zip(entries, folded.splitlines(), strict=True):
        name = json.loads(line)
        for word in {name, *re.findall(r"\w+", name)}:
            index.setdefault(word, {"_id": word} | {what: [] for what in collections})[what].append(entry)
    return index.values()


def degrees(text: str) -> float:
    """ISO 6709's ±DDMM[SS] or ±DDDMM[SS] in degrees."""
    whole, minutes, seconds = re.fullmatch(r"([+-]\d{2,3})(\d{2})(\d{2})?", text).groups("0")
    size = abs(int(whole)) + int(minutes) / 60 + int(seconds) / 3600
    return round(-size if whole.startswith("-") else size, 4)


def time_zones() -> Iterable[dict[str, Any]]:
    for line in ZONES.read_text().splitlines():
        if line.startswith("#"):
            continue
        countries, place, name, *comments = line.split("\t")
        latitude, longitude = re.fullmatch(r"([+-]\d+)([+-]\d+)", place).groups()
        zone = {
            "_id": name,
            "area": name.partition("/")[0],
            "countries": countries.split(","),
            "location": {"latitude": degrees(latitude), "longitude": degrees(longitude)},
        }
        yield zone | ({"comments": comments[0]} if comments else {})


def load_mongodb(url: str, postgres: str, countries: list[dict[str, str]]) -> dict[str, int]:
    at = urlsplit(url)
    client = MongoClient(at.hostname or "127.0.0.1", at.port or 27017)
    database = at.path.strip("/") or "atlas"
    alpha_2 = {entry["alpha_2"] for entry in countries}

    currencies = [
        # `country` is no part of ISO 4217, which only makes most codes from the country's: there where the first two
        # letters are one.
        {"_id": entry["alpha_3"], "name": entry["name"], "numeric": entry["numeric"]}
        | ({"country": entry["alpha_3"][:2]} if entry["alpha_3"][:2] in alpha_2 else {})
        for entry in iso("4217")
    ]
    languages = [
        {"_id": entry["alpha_3"], "name": entry["name"]}
        | {key: entry[key] for key in ("alpha_2", "bibliographic", "common_name", "inverted_name") if key in entry}
        | {"scope": LANGUAGE_SCOPES[entry["scope"]], "type": LANGUAGE_TYPES[entry["type"]]}
        for entry in iso("639-3")
    ]
    loaded = {}
    for collection, documents, indexed in [
        ("currencies", currencies, "country"),
        ("languages", languages, None),
        ("time_zones", time_zones(), "countries"),
        ("words", words(postgres, currencies=currencies, languages=languages), None),
    ]:
        client.drop(database, collection)
        loaded[collection.replace("_", " ")] = client.insert(database, collection, documents)
        if indexed:
            index = {"key": {indexed: 1}, "name": f"{indexed}_1"}
            client.command(database, {"createIndexes": collection, "indexes": [index]})
    client.close()
    return loaded


def load(postgres: str, mongodb: str) -> str:
    """Load everything; returns a sentence on how much that was."""
    countries = iso("3166-1")
    loaded = load_postgres(postgres, countries) | load_mongodb(mongodb, postgres, countries)
    return ", ".join(f"{count:,} {what}" for what, count in loaded.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--postgres", metavar="URL", default=os.environ.get("ATLAS_PG"), help="postgresql://… (default: $ATLAS_PG)"
    )
    parser.add_argument(
        "--mongodb", metavar="URL", default=os.environ.get("ATLAS_MONGO"), help="mongodb://… (default: $ATLAS_MONGO)"
    )
    arguments = parser.parse_args()
    if not arguments.postgres or not arguments.mongodb:
        parser.error("both URLs are needed")
    try:
        print(load(arguments.postgres, arguments.mongodb))
    except (OSError, MongoError) as error:
        raise SystemExit(f"load: {error}") from None


if __name__ == "__main__":
    main()
