"""The harness itself: its servers start, hold data, stop, die, freeze and come back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import data
import pytest
from harness import Mongo, MongoClient, MongoError, ObjectId, Port, Postgres, SqlError, bson
from harness.server import running, wait_for


def test_postgres_has_its_data(postgres: Postgres) -> None:
    assert postgres.sql("select count(*), min(id), max(id) from customers", "test") == "100|1|100"
    assert postgres.sql("select count(*) from orders join customers c on c.id = customer_id", "test") == "500"
    assert postgres.sql("show timezone") == "Asia/Kathmandu"


def test_postgres_says_what_is_wrong(postgres: Postgres) -> None:
    with pytest.raises(SqlError, match='relation "nowhere" does not exist'):
        postgres.sql("select * from nowhere")


def test_postgres_answers_over_tcp_with_its_password(postgres: Postgres) -> None:
    def ask(url: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["psql", "-XAtc", "select 1", url], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
        )

    assert ask(postgres.url("test")).stdout == "1\n"
    assert ask(postgres.url("test", application_name="a b")).stdout == "1\n"
    assert "password authentication failed" in ask(postgres.url("test").replace(postgres.password, "wrong")).stderr


def test_postgres_keeps_its_data_over_a_restart_and_a_crash(private_postgres: Postgres) -> None:
    server = private_postgres
    server.sql("create table kept (n int); insert into kept values (1)")
    server.restart()
    server.sql("insert into kept values (2)")
    server.sql("checkpoint")
    server.kill()
    with pytest.raises(SqlError):
        server.sql("select 1")
    server.start()
    assert server.sql("select sum(n) from kept") == "3"


def test_postgres_paused_does_not_answer(private_postgres: Postgres) -> None:
    private_postgres.pause()
    asking = subprocess.Popen(["psql", "-XAtc", "select 1", private_postgres.url()], stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    assert asking.poll() is None
    private_postgres.resume()
    assert asking.communicate(timeout=10)[0] == "1\n"


def test_mongo_has_its_data(mongo: Mongo) -> None:
    assert len(mongo.client.find("test", "points", sort={"n": 1}, batchSize=100)) == 250
    assert mongo.client.find("test", "kinds", {"_id": data.KINDS["_id"]}) == [data.KINDS]
    stars = mongo.client.aggregate(
        "test", "reviews", [{"$group": {"_id": "$stars", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    )
    assert stars == [{"_id": n, "n": 60} for n in range(1, 6)]


def test_mongo_says_what_is_wrong(mongo: Mongo) -> None:
    with pytest.raises(MongoError, match="no such command"):
        mongo.client.command("test", {"nonsense": 1})
    with pytest.raises(MongoError) as refused:
        mongo.client.insert("test", "products", [{"_id": "p-1"}])
    assert refused.value.reply["writeErrors"][0]["code"] == 11000


def test_mongo_keeps_its_data_over_a_restart_and_a_crash(private_mongo: Mongo) -> None:
    server = private_mongo
    server.restart()
    assert len(server.client.find("test", "products")) == 50
    server.kill()
    with pytest.raises(OSError):
        MongoClient("127.0.0.1", server.port)
    server.start()
    assert len(server.client.find("test", "products")) == 50


def test_mongo_paused_does_not_answer(private_mongo: Mongo) -> None:
    private_mongo.pause()
    client = MongoClient("127.0.0.1", private_mongo.port, timeout=0.3)
    with pytest.raises(TimeoutError):
        client.command("test", {"ping": 1})
    client.close()
    private_mongo.resume()
    assert private_mongo.client.command("test", {"ping": 1})["ok"] == 1


def test_bson_there_and_back() -> None:
    document = data.KINDS | data.RARE | {"many": [{"n": n} for n in range(20)], "_id": ObjectId()}
    assert bson.decode(bson.encode(document)) == document
    # {"hello": "world"}, from the specification
    assert bson.encode({"hello": "world"}) == bytes.fromhex("160000000268656c6c6f0006000000776f726c640000")


def test_a_port_is_given_once() -> None:
    ports = [Port() for _ in range(200)]
    assert len({port.number for port in ports}) == 200
    for port in ports:
        port.release()


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "raise SystemExit(1)", "os.kill(os.getpid(), 2)"])
def test_servers_do_not_outlive_their_starter(ending: str) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from harness import Mongo, Postgres
with Postgres() as pg, Mongo() as mongo:
    print(pg.pid, mongo.pid, pg.folder, mongo.folder, flush=True)
    {ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120
    )
    *pids, pg_folder, mongo_folder = done.stdout.split()
    wait_for(lambda: not any(running(int(pid)) for pid in pids), 10, "the servers to end")
    if done.returncode == -9:  # nobody was left to remove them
        subprocess.run(["rm", "-rf", pg_folder, mongo_folder], check=True)
    assert not os.path.exists(pg_folder) and not os.path.exists(mongo_folder)
