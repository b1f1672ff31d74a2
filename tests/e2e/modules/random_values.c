/* Random programs: values that are made, put together, looked into, written and read again. See random.h.
 *
 * Also the handlers that get a stranger's or an author's text: what a test sends them is anything at all. */
#include <stdio.h>
#include <stdlib.h>

#include "random.h"

enum { DEEP = 5 };

static gd_value *random_text(struct node *n)
{
	static const char *const texts[] = {"", "a", "ü€😀", "\"\\/", "\x01\x1f\x7f", "$where", "a.b[0]", "%s", "-0"};
	return gd_string(texts[pick(n, sizeof(texts) / sizeof(texts[0]))]);
}

static gd_value *random_value(struct node *n, unsigned depth);

static gd_value *random_parts(struct node *n, unsigned depth, bool named)
{
	gd_value *whole = named ? gd_doc() : gd_list();
	unsigned count = pick(n, 5);
	for (unsigned i = 0; i < count; i++) {
		gd_value *v = random_value(n, depth + 1);
		int r = named ? gd_set(whole, gd_format("m%u", i), v) : gd_append(whole, v);
		must(n, r == 0 || gd_failed(whole) < 0);
	}
	must(n, gd_failed(whole) < 0 || gd_count(whole) == count);
	return whole;
}

static gd_value *random_value(struct node *n, unsigned depth)
{
	unsigned die = pick(n, depth < DEEP ? 16 : 10);
	switch (die) {
	case 0:
		return gd_null();
	case 1:
		return gd_bool(chance(n, 2));
	case 2:
		return gd_int((int64_t)((uint64_t)pick(n, 1000) << pick(n, 60)));
	case 3:
		return gd_double((double)pick(n, 1000) / (1 + pick(n, 64)));
	case 4:
		return gd_number(chance(n, 2) ? "-12345678901234567890.5e-3" : "1E400");
	case 5:
		return gd_bytes("\0\xff\x80 ", pick(n, 5));
	case 6:
		return gd_datetime((int64_t)pick(n, 1u << 31) * 1000 - 1);
	case 7:
		return gd_object_id("0123456789abcdef01234567");
	case 8:
		return chance(n, 20) ? gd_failure(-ENOENT, 404, "Drawn.") : random_text(n);
	case 9:
		return gd_build("{a: %d, %s: [%s, null, true, 1.5, \"%%\"], p: %p}", (int)pick(n, 9), "b", "c",
				random_text(n));
	default:
		return random_parts(n, depth, chance(n, 2));
	}
}

static void must_be_a_failure(struct node *n, gd_value *v)
{
	must(n, gd_kind_of(v) == GD_FAILED && gd_error_text(v)[0] && gd_error_status(v) >= 400);
	must(n, !gd_to_json(v) && !gd_to_text(v) && !gd_truthy(v));
	must(n, gd_failed(gd_get(v, "a")) == gd_failed(v));
}

static void op_value(struct node *n)
{
	gd_value *v = random_value(n, 0);
	if (gd_failed(v) < 0) {
		must_be_a_failure(n, v);
		return;
	}
	const char *json = gd_to_json(v);
	must(n, json != NULL);
	gd_value *again = gd_parse(json, strlen(json));
	must(n, gd_failed(again) == 0 && strcmp(gd_to_json(again), json) == 0);
	must(n, gd_count(again) == gd_count(v));
	for (size_t i = 0; i < gd_count(v); i++) {
		const char *a = gd_to_json(gd_at(v, i)), *b = gd_to_json(gd_at(again, i));
		must(n, a && b && strcmp(a, b) == 0);
	}
	gd_scope *s = gd_scope_begin();
	gd_value *copy = gd_value_copy(v);
	gd_value *holder = gd_list(copy, v);
	must(n, gd_append(holder, gd_doc("v", v)) == 0);
	must(n, gd_count(holder) == 3 && strcmp(gd_to_json(gd_get(holder, "[2].v")), json) == 0);
	gd_scope_end(s);
	must(n, strcmp(gd_to_json(v), json) == 0);
}

/* A value that outlives the scope it was made in. */
static void op_value_kept(struct node *n)
{
	gd_value *all = gd_list();
	unsigned good = 0;
	for (unsigned i = 1 + pick(n, 4); i > 0; i--) {
		gd_scope *s = gd_scope_begin();
		gd_value *v = random_value(n, 1);
		if (gd_failed(v) == 0)
			good += gd_append(all, v) == 0;
		expect(n, gd_yield(), GD_NEVER, 0);
		gd_scope_end(s);
	}
	must(n, gd_count(all) == good && gd_to_json(all) != NULL);
}

/* clang-format off */
const struct operation value_operations[] = {
	{"value",      4, 0, op_value},
	{"value_kept", 2, 0, op_value_kept},
	{NULL, 0, 0, NULL},
};
/* clang-format on */

/* --- what a stranger has sent --- */

/* All that there is of a request, of any text at all. */
int look(gd_request *req)
{
	static const char *const headers[] = {"cookie", "accept", "Content-Type", "x-a", "host", "authorization", ""};
	size_t len;
	gd_value *seen = gd_list(gd_param(req, "n"), gd_param(req, "q"), gd_param(req, "list"), gd_param(req, "x-a"));
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		const char *text = gd_header(req, headers[i]);
		gd_append(seen, gd_bytes(text, text ? strlen(text) : 0));
	}
	const void *body = gd_body(req, &len);
	gd_append(seen, gd_bytes(body, len));
	gd_value *json = gd_body_json(req), *form = gd_body_form(req);
	gd_value *parts = gd_list(gd_get(json, "a[0].b"), gd_get(form, "a"));
	return gd_reply(req, 200,
			gd_build("{seen: %p, json: %p, form: %p, parts: %s, path: %p, method: %s, client: %s}", seen,
				 gd_failed(json) ? gd_int(gd_error_status(json)) : json,
				 gd_failed(form) ? gd_int(gd_error_status(form)) : form, gd_to_json(parts),
				 gd_bytes(gd_path(req), strlen(gd_path(req))), gd_method(req), gd_client(req)));
}
