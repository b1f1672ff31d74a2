"""Values in handlers: put together in a module of its own, looked into, and what failures in them reply."""

from __future__ import annotations

import pytest

from support import good, problem

VALUES = r"""
    #include <errno.h>
    #include <gatherd.h>
    #include <string.h>

    int nested(gd_request *req)
    {
        gd_value *doc = gd_doc("a", gd_doc("b", gd_list(gd_list(), gd_doc(), gd_list(gd_doc("c", gd_null())))), "d", gd_doc());
        return gd_reply(req, 200, doc);
    }
    int built(gd_request *req)
    {
        gd_value *ids = gd_param(req, "id"), *sum = gd_list();
        int64_t total = 0;
        for (size_t i = 0; i < gd_count(ids); i++) {
            gd_scope *turn = gd_scope_begin();
            total += gd_to_int(gd_at(ids, i), 0);
            gd_append(sum, gd_build("{id: %p, total: %lld}", gd_at(ids, i), (long long)total));
            gd_scope_end(turn);
        }
        return gd_reply(req, 200, gd_build("{ids: %p, %s: %p, last: %p, raw: %p, at: %p, price: %p}", ids, "sum", sum,
                        gd_get(sum, "[0].total"), gd_bytes("\0\377", 2), gd_datetime(1709164800123), gd_number("12.50")));
    }
    int text(gd_request *req)
    {
        gd_value *q = gd_param(req, "q");
        return gd_reply(req, 200, gd_build("[%s, %lld, %g, %d, %s]", gd_to_text(q), (long long)gd_to_int(q, -1), gd_to_double(q, -1),
                        gd_truthy(q), gd_to_json(q)));
    }
    int misspelt(gd_request *req) { return gd_reply(req, 200, gd_build("{a: %d, b}", 1)); }
    int forgotten(gd_request *req)
    {
        gd_value *list = gd_list(gd_int(1));
        gd_append(list, gd_doc("customer", gd_failure(-ENOENT, 404, "No such customer.")));
        return gd_reply(req, 200, list);
    }
    int returned(gd_request *req)
    {
        (void)req;
        return gd_failed(gd_doc("customer", gd_failure(-ENOENT, 422, "No such %s.", "customer")));
    }
    int none(gd_request *req) { return gd_reply(req, 200, gd_list(gd_null(), NULL)); }
    int deep(gd_request *req)
    {
        gd_value *v = gd_list();
        for (int i = 0; i < 100000; i++)
            v = gd_list(v);
        return gd_reply(req, 200, v);
    }
"""


@pytest.fixture(scope="module")
def values(module_gatherd, module):
    path = module("values", VALUES)
    lines = [f'  "GET /{name}": {{ handler: "{path}:{name}" }}\n' for name in ("nested", "misspelt", "forgotten", "returned", "none", "deep")]
    lines.append(f'  "GET /built": {{ handler: "{path}:built", parameters: {{ id: {{ type: array, items: {{ type: integer }} }} }} }}\n')
    lines.append(f'  "GET /text": {{ handler: "{path}:text", parameters: {{ q: {{ type: string, default: "" }} }} }}\n')
    return module_gatherd("endpoints:\n" + "".join(lines))


def test_lists_in_documents_in_lists(values):
    assert good(values.get("/nested")) == {"a": {"b": [[], {}, [{"c": None}]]}, "d": {}}


def test_values_of_inner_scopes_stay_where_they_were_put(values):
    assert good(values.get("/built?id=3&id=4&id=-7")) == {
        "ids": [3, 4, -7],
        "sum": [{"id": 3, "total": 3}, {"id": 4, "total": 7}, {"id": -7, "total": 0}],
        "last": 3,
        "raw": "AP8=",
        "at": "2024-02-29T00:00:00.123Z",
        "price": 12.5,
    }


@pytest.mark.parametrize(
    ("q", "said"),
    [
        ("12", ["12", 12, 12, 1, '"12"']),
        ("1.50", ["1.50", -1, 1.5, 1, '"1.50"']),
        ("%22%7B%24gt", ['"{$gt', -1, -1, 1, '"\\"{$gt"']),
        ("", ["", -1, -1, 0, '""']),
    ],
)
def test_conversions(values, q, said):
    assert good(values.get(f"/text?q={q}")) == said


def test_failures_in_values_are_the_reply(values):
    assert problem(values.get("/forgotten"), 404)["detail"] == "No such customer."
    assert problem(values.get("/returned"), 422)["detail"] == "No such customer."
    for name in ("misspelt", "none", "deep"):
        problem(values.get(f"/{name}"), 500)
    told = [line["error"] for line in values.log_lines() if line.get("path") == "/misspelt"]
    assert len(told) == 1
    assert "byte 9: expected" in told[0]
