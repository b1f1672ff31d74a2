"""Real servers for the tests, the demo and the benchmark, each in a scratch folder and on a free port.

    with Postgres() as pg, Mongo() as mongo, Gatherd(YAML, env={"PG": pg.url(), "MONGO": mongo.url()}) as gatherd:
        assert gatherd.get("/customers/1").json() == …

Only the standard library and Debian's packages are needed.
"""

from .bson import Binary, Decimal128, Int64, ObjectId, Regex, Timestamp
from .cutting import CuttingProxy
from .gatherd import Gatherd, Response
from .manager import ManagedGatherd, Manager
from .mongo import Mongo, MongoClient, MongoError
from .network import BlackHole, Relay
from .postgres import Postgres, SqlError, Standby, postgres_program
from .server import ROOT, Port, Server, ServerError

__all__ = [
    "Binary",
    "BlackHole",
    "CuttingProxy",
    "Decimal128",
    "Gatherd",
    "Int64",
    "ManagedGatherd",
    "Manager",
    "Mongo",
    "MongoClient",
    "MongoError",
    "ObjectId",
    "Port",
    "Postgres",
    "postgres_program",
    "ROOT",
    "Regex",
    "Relay",
    "Response",
    "Server",
    "ServerError",
    "SqlError",
    "Standby",
    "Timestamp",
]
