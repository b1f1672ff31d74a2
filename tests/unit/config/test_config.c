/* What a good configuration becomes: every key, every default, the places of texts, and the JSON Schema. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"
#include "config/config.h"
#include "config/language.h"
#include "drivers/drivers.h"
#include "drivers/files/keys.h"
#include "drivers/http/keys.h"
#include "drivers/mongo/keys.h"
#include "drivers/postgres/keys.h"

/* What only one kind of source has, and only its steps. */
#define KEYS_OF(name, type, object)                                                                                    \
	static const struct type *name(const struct object *o)                                                         \
	{                                                                                                              \
		return o->own;                                                                                         \
	}
KEYS_OF(postgres_keys, pg_source_keys, config_source)
KEYS_OF(mongo_keys, mongo_source_keys, config_source)
KEYS_OF(http_keys, http_source_keys, config_source)
KEYS_OF(files_keys, files_source_keys, config_source)
KEYS_OF(mongo_step, mongo_step_keys, config_step)
KEYS_OF(http_step, http_step_keys, config_step)
KEYS_OF(files_step, files_step_keys, config_step)

static bool does(const struct config_step *s, const char *action)
{
	return strcmp(s->source->kind->actions[s->action].name, action) == 0;
}

static bool all_given(const struct mongo_step_keys *k)
{
	return k->filter && k->projection && k->sort && k->limit && k->skip;
}

#define MINIMAL "endpoints: { \"GET /\": { respond: 1 } }\n"

static struct diagnostics d;
static struct config *c;

static void setup(void)
{
	setenv("TEST_WORD", "word", 1);
	setenv("TEST_NUMBER", "3", 1);
	unsetenv("TEST_NOT_SET");
	diagnostics_init(&d);
}

static void teardown(void)
{
	config_free(c);
	c = NULL;
	diagnostics_done(&d);
}

static void accepted(void)
{
	struct buf out = BUF_INIT;
	diagnostics_print(&d, &out);
	ck_assert_msg(c != NULL, "refused:\n%s", buf_cstr(&out));
	ck_assert_uint_eq(d.errors, 0);
	buf_done(&out);
}

static void load(const char *text)
{
	config_free(c);
	c = config_load_text("test.yaml", text, strlen(text), &drivers_language, &d);
	accepted();
}

/* What has mistakes: d says which. */
static void load_wrong(const char *name, const char *text, size_t len)
{
	config_free(c);
	c = config_load_text(name, text, len, &drivers_language, &d);
	ck_assert_uint_gt(d.errors, 0);
}

static void load_language(void)
{
	c = config_load("tests/config/good/language.yaml", &drivers_language, &d);
	accepted();
}

static const struct config_parameter *parameter(const struct config_endpoint *e, const char *name)
{
	for (size_t i = 0; i < e->parameter_count; i++) {
		if (strcmp(e->parameters[i].name, name) == 0)
			return &e->parameters[i];
	}
	ck_abort_msg("no parameter %s", name);
}

static const struct config_step *step(const struct config_endpoint *e, const char *name)
{
	for (size_t i = 0; i < e->step_count; i++) {
		if (strcmp(e->steps[i].name, name) == 0)
			return &e->steps[i];
	}
	ck_abort_msg("no step %s", name);
}

/* --- what is absent -------------------------------------------------------------------------------------------- */

START_TEST(defaults)
{
	load("sources:\n  shop: { postgres: \"postgresql:///shop\" }\n  catalog: { mongodb: \"mongodb://h/c\" "
	     "}\n" MINIMAL);
	const struct config_server *s = &c->server;
	ck_assert_uint_eq(s->listen_count, 1);
	ck_assert_str_eq(s->listen[0].host, "127.0.0.1");
	ck_assert_uint_eq(s->listen[0].port, 8080);
	ck_assert(!s->listen[0].admin);
	ck_assert_uint_ge(s->threads, 1);
	ck_assert_uint_eq(s->max_connections, 10000);
	ck_assert_uint_eq(s->max_requests, 4096);
	ck_assert_int_eq(s->request_timeout_us, 10000000);
	ck_assert_int_eq(s->drain_timeout_us, 30000000);
	ck_assert(!s->debug);
	ck_assert_int_eq(s->slow_callback_us, 100000);
	ck_assert_uint_eq(s->body_limit, 1 << 20);
	ck_assert_uint_eq(s->reply_limit, 64 << 20);
	ck_assert_int_eq(s->idle_timeout_us, 60000000);
	ck_assert_int_eq(s->read_timeout_us, 30000000);
	ck_assert_int_eq(s->write_timeout_us, 60000000);
	ck_assert_int_eq(c->log.level, LOG_INFO);

	const struct config_source *shop = &c->sources[0], *catalog = &c->sources[1];
	ck_assert_uint_eq(shop->pool.size, 8);
	ck_assert_uint_eq(catalog->pool.size, 16);
	ck_assert_uint_eq(shop->pool.max_waiting, 1024);
	ck_assert_int_eq(shop->pool.acquire_timeout_us, 1000000);
	ck_assert_int_eq(shop->pool.idle_timeout_us, 300000000);
	ck_assert_int_eq(shop->pool.lifetime_us, 1800000000);
	ck_assert_int_eq(shop->timeout_us, 0);
	ck_assert(postgres_keys(shop)->prepare);
	ck_assert(!shop->password.set);
	ck_assert_int_eq(mongo_keys(catalog)->json, MONGO_JSON_PLAIN);
	ck_assert_int_eq(shop->semaphore, -1);
	ck_assert_uint_eq(s->cache_size, 64 << 20);
	ck_assert(!s->explain && s->trusted_proxy_count == 0 && c->semaphore_count == 0);
}
END_TEST

START_TEST(defaults_of_services)
{
	load("sources: { r: { http: \"http://h\" }, p: { files: tests/config/good } }\nsemaphores: { a: 3 }\n"
	     "endpoints: { \"GET /\": { gather: { a: { from: r, get: \"\" }, b: { from: p, read: x } } } }\n");
	const struct config_source *r = &c->sources[0], *p = &c->sources[1];
	ck_assert(http_keys(r)->retry.attempts == 0 && http_keys(r)->breaker.failures == 0);
	ck_assert(!http_keys(r)->headers && !http_keys(r)->proxy);
	ck_assert(http_keys(r)->redirects == 0 && http_keys(r)->max_size == 8 << 20);
	ck_assert(r->semaphore == -1 && r->timeout_us == 0);
	ck_assert(!files_keys(p)->write && files_keys(p)->max_size == 8 << 20 && p->longest_us == 10000000);
	ck_assert_uint_ge(c->server.threads, 1);
	ck_assert(c->semaphores[0].permits == 3 && c->semaphores[0].max_waiting == 1024);
	const struct config_step *s = c->endpoints[0].steps;
	ck_assert(s[0].expect == EXPECT_JSON && s[0].semaphore == -1 && !s[0].join && s[0].cache.ttl_us == 0);
	ck_assert(does(&s[1], "read") && files_step(&s[1])->as == FILE_AS_TEXT && !s[1].write);
	ck_assert(c->endpoints[0].semaphore == -1 && c->endpoints[0].rate.count == 0);
}
END_TEST

/* A pool may be smaller than the threads that share it. */
START_TEST(threads)
{
	load("server: { threads: 12 }\n"
	     "sources:\n"
	     "  shop: { postgres: \"postgresql:///shop\" }\n"
	     "  small: { mongodb: \"mongodb://127.0.0.1/c\", pool: { size: 1 } }\n" MINIMAL);
	ck_assert_uint_eq(c->server.threads, 12);
	ck_assert(c->sources[0].pool.size == 8 && c->sources[1].pool.size == 1);
	load("server:\n  threads: ${TEST_NUMBER}\n" MINIMAL);
	ck_assert_uint_eq(c->server.threads, 3);
}
END_TEST

/* --- what is given --------------------------------------------------------------------------------------------- */

START_TEST(server)
{
	load_language();
	const struct config_server *s = &c->server;
	ck_assert_uint_eq(s->listen_count, 6);
	ck_assert_uint_eq(s->listen[0].port, 0);
	ck_assert_str_eq(s->listen[1].host, "::1");
	ck_assert_str_eq(s->listen[2].host, "127.0.0.1");
	ck_assert_str_eq(s->listen[3].path, "/run/gatherd/http.sock");
	ck_assert_ptr_null(s->listen[3].host);
	ck_assert_uint_eq(s->listen[3].mode, 0600);
	ck_assert_uint_eq(s->listen[4].mode, 0660);
	ck_assert(s->listen[5].admin && s->listen[5].port == 9091);
	ck_assert_str_eq(s->control.path, "/run/gatherd/control");
	ck_assert(s->control.mode == 0600 && s->control.control && s->control.admin);
	ck_assert_uint_eq(s->threads, 2);
	ck_assert_uint_eq(s->max_connections, 500);
	ck_assert_uint_eq(s->max_requests, 100);
	ck_assert_int_eq(s->request_timeout_us, 1500000);
	ck_assert_int_eq(s->drain_delay_us, 3000000);
	ck_assert_int_eq(s->drain_timeout_us, 0);
	ck_assert_uint_eq(s->body_limit, 1536);
	ck_assert_uint_eq(s->cache_size, 16 << 20);
	ck_assert(s->explain);
	ck_assert(s->debug);
	ck_assert_int_eq(s->slow_callback_us, 20000);
	ck_assert_uint_eq(s->trusted_proxy_count, 5);
	const struct config_network *p = s->trusted_proxies;
	ck_assert_int_eq(p[4].family, AF_UNIX);
	ck_assert(p[0].family == AF_INET && p[0].address[0] == 10 && p[0].bits == 8);
	ck_assert(p[1].family == AF_INET && p[1].address[3] == 1 && p[1].bits == 32);
	ck_assert(p[2].family == AF_INET6 && p[2].address[0] == 0xfd && p[2].bits == 9);
	ck_assert(p[3].family == AF_INET6 && p[3].address[15] == 1 && p[3].bits == 128);
	ck_assert_int_eq(c->log.level, LOG_WARNING);
}
END_TEST

START_TEST(sources)
{
	load_language();
	ck_assert_uint_eq(c->source_count, 7);
	const struct config_source *shop = &c->sources[0], *catalog = &c->sources[1], *idle = &c->sources[2];
	ck_assert_str_eq(shop->name, "shop");
	ck_assert_uint_eq(shop->at.line, 25);
	ck_assert(!shop->ready && catalog->ready);
	ck_assert_ptr_eq(shop->kind, &postgres_kind);
	ck_assert_str_eq(shop->url, "postgresql://shop@/shop?host=/run/postgresql&application_name=word");
	ck_assert_uint_eq(shop->url_at.line, 26);
	ck_assert_uint_eq(shop->url_at.column, 15);
	ck_assert(shop->password.set);
	ck_assert_str_eq(shop->password.value, "pass word");
	ck_assert_uint_eq(shop->pool.size, 4);
	ck_assert_uint_eq(shop->pool.max_waiting, 0);
	ck_assert_int_eq(shop->pool.acquire_timeout_us, 250000);
	ck_assert_int_eq(shop->pool.lifetime_us, 7200000000);
	ck_assert_int_eq(shop->timeout_us, 800000);
	ck_assert(!postgres_keys(shop)->prepare);
	ck_assert_str_eq(catalog->password.value, "word");
	ck_assert_int_eq(mongo_keys(catalog)->json, MONGO_JSON_RELAXED);
	ck_assert_str_eq(idle->password.value, "plain");
	/* The longest of its steps, within the request's budget. */
	ck_assert_int_eq(shop->longest_us, 800000);
	ck_assert_int_eq(catalog->longest_us, 5000000);
	ck_assert_int_eq(idle->longest_us, 1500000);
}
END_TEST

static const char *header(const struct config_source *s, const char *name)
{
	return node_member(http_keys(s)->headers, name)->text;
}

START_TEST(services)
{
	load_language();
	const struct config_source *rates = &c->sources[3], *papers = &c->sources[5], *notes = &c->sources[6];
	ck_assert(rates->kind == &http_kind && strcmp(rates->url, "https://rates.example/api") == 0);
	ck_assert(http_keys(rates)->retry.attempts == 2 && http_keys(rates)->retry.backoff_us == 20000);
	ck_assert(http_keys(rates)->breaker.failures == 5 && http_keys(rates)->breaker.cooldown_us == 3000000);
	ck_assert(rates->pool.size == 3 && rates->pool.max_waiting == 4 && rates->pool.lifetime_us == 7000000);
	ck_assert(rates->pool.acquire_timeout_us == 5000000 && rates->pool.idle_timeout_us == 6000000);
	ck_assert(http_keys(rates)->redirects == 3 && http_keys(rates)->proxy && http_keys(rates)->max_size == 1 << 20);
	ck_assert_str_eq(header(rates, "Accept"), "application/json");
	ck_assert_str_eq(header(rates, "X-Braces"), "{a}");
	ck_assert_str_eq(header(rates, "X-Number"), "1");
	ck_assert_str_eq(header(rates, "Authorization"), "word");
	ck_assert(node_member(http_keys(rates)->headers, "Authorization")->expanded); /* no message shows it */
	ck_assert_str_eq(c->semaphores[rates->semaphore].name, "reports");
	ck_assert_str_eq(papers->url, realpath("tests/config/good/papers", (char[4096]){0}));
	/* Included from conf.d, where its relative folder begins. */
	ck_assert_str_eq(notes->name, "notes");
	ck_assert_str_eq(notes->at.file, "tests/config/good/conf.d/10-more.yaml");
	ck_assert_str_eq(notes->url, papers->url);
	ck_assert(files_keys(notes)->write && files_keys(notes)->max_size == 65536);
}
END_TEST

START_TEST(semaphores)
{
	load_language();
	/* The named ones of all files first, then those in place. */
	ck_assert_uint_eq(c->semaphore_count, 5);
	ck_assert(strcmp(c->semaphores[0].name, "reports") == 0 && c->semaphores[0].permits == 4);
	ck_assert(strcmp(c->semaphores[1].name, "more") == 0 && c->semaphores[1].max_waiting == 0);
	int shop = c->sources[0].semaphore, products = step(&c->endpoints[0], "products")->semaphore;
	ck_assert(shop >= 2 && !c->semaphores[shop].name && c->semaphores[shop].permits == 5);
	ck_assert_uint_eq(c->semaphores[shop].max_waiting, 1024);
	ck_assert(products >= 2 && products != shop && c->semaphores[products].permits == 3);
	ck_assert_uint_eq(c->semaphores[c->endpoints[4].semaphore].permits, 7);
}
END_TEST

/* Two that are taken in both orders: a warning, since time-outs end it. */
START_TEST(semaphores_both_ways)
{
	load("semaphores: { a: 1, b: 1, c: 1 }\n"
	     "sources: { r: { http: \"http://h\", semaphore: b }, s: { http: \"http://h\" } }\nendpoints:\n"
	     "  \"GET /1\": { semaphore: a, gather: { x: { from: r, get: / } } }\n"
	     "  \"GET /2\": { semaphore: b, gather: { y: { from: s, get: /, semaphore: a } } }\n"
	     "  \"GET /3\": { semaphore: c, gather: { z: { from: s, get: /, semaphore: a } } }\n");
	ck_assert_uint_eq(d.count, 2);
	ck_assert_int_eq(d.items[0].severity, SEVERITY_WARNING);
	ck_assert_uint_eq(d.items[0].at.line, 4);
	ck_assert_uint_eq(d.items[1].at.line, 5);
}
END_TEST

START_TEST(credential)
{
	setenv("CREDENTIALS_DIRECTORY", realpath("tests/config", (char[4096]){0}), 1);
	load("sources: { shop: { postgres: \"postgresql:///shop\", password: { credential: secret } } }\n" MINIMAL);
	ck_assert_str_eq(c->sources[0].password.value, "pass word");
	unsetenv("CREDENTIALS_DIRECTORY");
}
END_TEST

START_TEST(parameters)
{
	load_language();
	const struct config_endpoint *e = &c->endpoints[0];
	ck_assert_int_eq(e->method, METHOD_GET);
	ck_assert_str_eq(e->path, "/customers/{id}/{rest*}");
	ck_assert_uint_eq(e->parameter_count, 8);

	const struct config_parameter *id = parameter(e, "id");
	ck_assert(id->in == IN_PATH && id->required && id->schema.type == TYPE_INTEGER);
	ck_assert(id->schema.has_minimum && strcmp(id->schema.minimum, "1") == 0);
	ck_assert_str_eq(id->schema.maximum, "9007199254740993");
	ck_assert_str_eq(id->summary, "Which one");

	const struct config_parameter *rest = parameter(e, "rest");
	ck_assert(rest->in == IN_PATH && rest->required && rest->schema.type == TYPE_STRING);

	const struct config_parameter *limit = parameter(e, "limit");
	ck_assert(limit->in == IN_QUERY && !limit->required && limit->has_default);
	ck_assert_int_eq(limit->default_value.kind, VALUE_INT);
	ck_assert_int_eq(limit->default_value.integer, 20);

	const struct config_parameter *since = parameter(e, "since");
	ck_assert(!since->required && !since->has_default && since->schema.format == FORMAT_DATE_TIME);

	const struct config_parameter *tenant = parameter(e, "X-Tenant");
	ck_assert(tenant->in == IN_HEADER && tenant->required && tenant->schema.pattern_compiled);
	ck_assert(tenant->schema.has_min_length && tenant->schema.min_length == 2 && tenant->schema.max_length == 9);

	const struct config_parameter *tag = parameter(e, "tag");
	ck_assert(tag->schema.type == TYPE_ARRAY && tag->schema.items->enumeration_count == 2);
	ck_assert(tag->schema.has_max_items && !tag->schema.has_min_items);

	const struct config_parameter *colour = parameter(e, "colour");
	ck_assert(colour->schema.nullable && colour->schema.type == TYPE_STRING && colour->has_default);
	ck_assert_int_eq(colour->default_value.kind, VALUE_NULL);

	const struct config_parameter *ratio = parameter(e, "ratio");
	ck_assert_int_eq(ratio->default_value.kind, VALUE_NUMBER);
	ck_assert_str_eq(ratio->schema.minimum, "0.1");
}
END_TEST

START_TEST(body)
{
	load_language();
	const struct config_endpoint *e = &c->endpoints[1];
	ck_assert(e->body && e->body->type == TYPE_OBJECT && !e->body->additional);
	ck_assert_uint_eq(e->body->property_count, 3);
	const struct config_parameter *name = &e->body->properties[0], *address = &e->body->properties[1];
	ck_assert(strcmp(name->name, "name") == 0 && name->required && name->schema.min_length == 1);
	ck_assert(!address->required && address->schema.additional && address->schema.properties[0].required);
	ck_assert(e->body->properties[2].has_default && e->body->properties[2].default_value.integer == 18);
	ck_assert_int_eq(parameter(e, "dry")->in, IN_QUERY);
	ck_assert_int_eq(parameter(e, "name")->in, IN_BODY);
	ck_assert_int_eq(parameter(e, "anything")->schema.type, TYPE_ANY);
	ck_assert_uint_eq(e->status, 201);
	ck_assert_str_eq(e->location->text, "/customers/{made.id}");
}
END_TEST

START_TEST(steps)
{
	load_language();
	const struct config_endpoint *e = &c->endpoints[0];
	ck_assert_uint_eq(e->step_count, 16);
	const struct config_step *s = step(e, "customer");
	ck_assert(s->source == &c->sources[0] && does(s, "sql") && s->expect == EXPECT_ONE && s->write);
	ck_assert_str_eq(s->action_value->text, "select id, name\nfrom customers where id = {id}\n");
	ck_assert_int_eq(s->timeout_us, 100000);
	/* The second line of the text is line 76 of the file. */
	struct mark at = node_mark_at(s->action_value, strlen("select id, name\nfrom "));
	ck_assert_uint_eq(at.line, 76);
	ck_assert_uint_eq(at.column, 16);

	s = step(e, "orders");
	ck_assert(s->on_error == ON_ERROR_NULL && s->expect == EXPECT_MANY && s->when && !s->write);
	s = step(e, "reviews");
	ck_assert(does(s, "find") && all_given(mongo_step(s)));
	ck_assert(s->on_error == ON_ERROR_DEFAULT && s->default_node->kind == NODE_SEQUENCE);
	s = step(e, "latest");
	ck_assert(does(s, "find_one") && s->expect == EXPECT_MAYBE && s->on_error == ON_ERROR_OMIT);
	s = step(e, "sums");
	ck_assert(does(s, "aggregate") && s->expect == EXPECT_MAYBE && mongo_step(s)->pipeline->count == 1);
	s = step(e, "stars");
	ck_assert(does(s, "count") && s->expect == EXPECT_VALUE && s->on_error == ON_ERROR_FAIL);
	s = step(e, "names");
	ck_assert(does(s, "distinct") && s->expect == EXPECT_MANY && strcmp(mongo_step(s)->key->text, "name") == 0);
}
END_TEST

START_TEST(steps_of_services)
{
	load_language();
	const struct config_endpoint *e = &c->endpoints[0], *post = &c->endpoints[5];
	const struct config_step *s = step(e, "rate");
	ck_assert(does(s, "get") && s->expect == EXPECT_JSON);
	ck_assert(http_step(s)->query->count == 2 && http_step(s)->headers && http_step(s)->pick);
	ck_assert_str_eq(s->action_value->text, "/latest?base={customer.currency}");
	ck_assert(s->cache.ttl_us == 60000000 && s->cache.stale_us == 0);
	ck_assert(step(e, "there")->expect == EXPECT_RESPONSE && step(e, "whole")->expect == EXPECT_RESPONSE);
	ck_assert(files_step(step(e, "table"))->as == FILE_AS_JSON && does(step(e, "size"), "stat"));
	ck_assert(does(step(e, "all"), "list"));

	ck_assert(does(step(post, "sent"), "post") && http_step(step(post, "sent"))->body->count == 2);
	ck_assert(does(step(post, "put"), "put") && does(step(post, "gone"), "delete"));
	ck_assert(http_step(step(post, "patched"))->body->kind == NODE_NULL);
	s = step(post, "note");
	ck_assert(does(s, "write") && s->write && strcmp(s->action_value->text, "{sent.id}.json") == 0);
	ck_assert(does(step(post, "log"), "append") && files_step(step(post, "log"))->content->kind == NODE_STRING);
	ck_assert(does(step(post, "old"), "remove") && !files_step(step(post, "old"))->content);
}
END_TEST

START_TEST(policies)
{
	load_language();
	const struct config_endpoint *e = &c->endpoints[0];
	const struct config_step *bought = step(e, "bought"), *products = step(e, "products");
	ck_assert(bought->on_error == ON_ERROR_STALE && bought->cache.ttl_us == 5000000);
	ck_assert_int_eq(bought->cache.stale_us, 30000000);
	ck_assert(products->keep && products->join && products->join->many);
	ck_assert_ptr_eq(&e->steps[products->join->into], bought);
	ck_assert_str_eq(products->join->key, "id");
	ck_assert_str_eq(products->join->equals, "_id");
	ck_assert_str_eq(products->join->as, "product");
	ck_assert(does(step(&c->endpoints[3], "file"), "send"));
	ck_assert(c->endpoints[3].rate.count == 100 && c->endpoints[3].rate.per_us == 60000000);
	ck_assert_int_eq(c->endpoints[4].cache.ttl_us, 10000000);
	/* << */
	ck_assert(c->endpoints[5].rate.count == 5 && c->endpoints[5].timeout_us == 4000000);
	ck_assert_str_eq(c->endpoints[6].summary, "Common");
	ck_assert(c->endpoints[6].timeout_us == 3000000 && c->endpoints[6].status == 202);
}
END_TEST

/* A place in the text of an SQL file is a place in that file. */
START_TEST(sql_files)
{
	load_language();
	const struct config_step *s = step(&c->endpoints[0], "bought");
	struct mark at = node_mark_at(s->action_value,
				      (size_t)(strstr(s->action_value->text, "{id}") - s->action_value->text));
	ck_assert_str_eq(at.file, "tests/config/good/queries/orders.sql");
	ck_assert_uint_eq(at.line, 3);
	ck_assert_uint_eq(at.column, 33);
	/* The same from a file that is included. */
	s = step(&c->endpoints[8], "orders");
	ck_assert_str_eq(s->action_value->at.file, "tests/config/good/conf.d/../queries/orders.sql");
	ck_assert_int_eq(c->semaphores[s->semaphore].permits, 2);
}
END_TEST

START_TEST(formats)
{
	load("endpoints: { \"GET /\": { respond: 1, parameters: { a: { format: date, default: 2024-02-29 },\n"
	     "  b: { format: uuid, enum: [ 6ba7b810-9dad-11d1-80b4-00c04fd430c8 ] } } } }\n");
	static const char wrong[] =
		"endpoints: { \"GET /\": { respond: 1, parameters: { a: { format: date, default: 2023-02-29 },\n"
		"  b: { format: ipv4, enum: [ 1.2.3.4, 1.2.3 ] } } } }\n";
	load_wrong("test.yaml", wrong, sizeof(wrong) - 1);
	ck_assert_uint_eq(d.errors, 2);
	ck_assert_str_eq(d.items[0].text, "default: \"2023-02-29\" does not fit: it is not of that \"format\"");
	ck_assert_uint_eq(d.items[1].at.column, 39);
}
END_TEST

START_TEST(endpoints)
{
	load_language();
	ck_assert_uint_eq(c->endpoint_count, 10);
	const struct config_endpoint *e = &c->endpoints[0];
	ck_assert(e->status == 203 && e->additional && e->timeout_us == 5000000 && e->headers->count == 2);
	struct buf out = BUF_INIT;
	node_render(e->respond, &out);
	ck_assert_str_eq(buf_cstr(&out), "{\"id\":\"{customer.id}\",\"price\":1.10,\"literal\":\"${x}\"}");
	buf_done(&out);
	ck_assert(c->endpoints[2].step_count == 0 && c->endpoints[2].status == 200 && !c->endpoints[2].additional);
	ck_assert_int_eq(c->endpoints[7].method, METHOD_DELETE);
	ck_assert_uint_eq(c->endpoints[7].parameter_count, 1);
}
END_TEST

/* --- texts of files -------------------------------------------------------------------------------------------- */

START_TEST(kinds_of_text)
{
	load("\xEF\xBB\xBF" MINIMAL);
	load("# CR LF\r\nendpoints:\r\n  \"GET /\":\r\n    respond: |\r\n      a\r\n      b\r\n");
	ck_assert_str_eq(c->endpoints[0].respond->text, "a\nb\n");
	load("%YAML 1.2\n---\n" MINIMAL "...\n");
	load("endpoints: { \"GET /caf\xC3\xA9/{id}\": { respond: 1 } }\n");
	load("{\"endpoints\": {\"GET /\": {\"respond\": null}}}");
	ck_assert_int_eq(c->endpoints[0].respond->kind, NODE_NULL);
}
END_TEST

/* The diagnostics outlive the configuration and the text that they are about. */
START_TEST(diagnostics_outlive)
{
	char *text = strdup("endpoints: { \"GET /\": { respond: 1, summry: 2 } }\n");
	char *name = strdup("gone.yaml");
	load_wrong(name, text, strlen(text));
	config_free(c);
	c = NULL;
	memset(text, 'x', strlen(text));
	memset(name, 'x', strlen(name));
	free(text);
	free(name);
	ck_assert_uint_eq(d.count, 1);
	ck_assert_str_eq(d.items[0].at.file, "gone.yaml");
	ck_assert_str_eq(d.items[0].text, "unknown key of an endpoint \"summry\": did you mean \"summary\"?");
}
END_TEST

/* In quotes or not: what counts is what a key takes. */
START_TEST(variables_in_quotes)
{
	setenv("TEST_TRUE", "true", 1);
	setenv("TEST_NULL", "null", 1);
	load("server: { threads: \"${TEST_NUMBER}\", max_connections: \"1${TEST_NUMBER}\", explain: \"${TEST_TRUE}\",\n"
	     "  request_timeout: \"${TEST_NUMBER}s\", body_limit: \"${TEST_NUMBER}KiB\", debug: "
	     "'${TEST_NOT_SET:-true}' }\n"
	     "sources:\n"
	     "  shop:\n"
	     "    postgres: \"${TEST_NOT_SET:-postgresql:///shop}\"\n"
	     "    password: ${TEST_TRUE}\n"
	     "    pool: { size: \"${TEST_NUMBER}\" }\n"
	     "    semaphore: \"${TEST_NUMBER}\"\n"
	     "  docs:\n"
	     "    mongodb: \"mongodb://u@127.0.0.1/c\"\n"
	     "    password: ${TEST_NULL}\n"
	     "  box: { files: tests/config/good, write: \"${TEST_TRUE}\" }\n"
	     "endpoints:\n"
	     "  \"POST /{name}\":\n"
	     "    status: \"20${TEST_NOT_SET:-2}\"\n"
	     "    parameters:\n"
	     "      n: { type: integer, minimum: \"${TEST_NUMBER}\", default: \"${TEST_NUMBER}\", "
	     "enum: [ \"${TEST_NUMBER}\", 4 ] }\n"
	     "      s:\n"
	     "        type: string\n"
	     "        default: ${TEST_NUMBER}\n"
	     "      o: { type: boolean, required: \"${TEST_NOT_SET:-false}\" }\n"
	     "    gather:\n"
	     "      a:\n"
	     "        from: docs\n"
	     "        find: ${TEST_NUMBER}\n"
	     "        limit: \"${TEST_NUMBER}\"\n"
	     "      b: { from: box, append: x, content: x, write: \"${TEST_TRUE}\" }\n");
	const struct config_server *s = &c->server;
	ck_assert(s->threads == 3 && s->max_connections == 13 && s->explain && s->debug);
	ck_assert_int_eq(s->request_timeout_us, 3000000);
	ck_assert_uint_eq(s->body_limit, 3 << 10);
	ck_assert_str_eq(c->sources[0].password.value, "true");
	ck_assert_str_eq(c->sources[1].password.value, "null");
	ck_assert(c->sources[0].pool.size == 3 && c->semaphores[c->sources[0].semaphore].permits == 3);
	ck_assert(files_keys(&c->sources[2])->write);
	const struct config_endpoint *e = &c->endpoints[0];
	ck_assert_uint_eq(e->status, 202);
	ck_assert(e->parameters[0].default_value.kind == VALUE_INT && e->parameters[0].default_value.integer == 3);
	ck_assert(e->parameters[1].default_value.kind == VALUE_STRING && !e->parameters[2].required);
	ck_assert(mongo_step(&e->steps[0])->limit->kind == NODE_INT && mongo_step(&e->steps[0])->limit->integer == 3);
	ck_assert(e->steps[0].action_value->kind == NODE_STRING);
	ck_assert(does(&e->steps[1], "append") && e->steps[1].write);
	unsetenv("TEST_TRUE");
	unsetenv("TEST_NULL");
}
END_TEST

/* What a person wrote is not bounded by the number of its values. */
START_TEST(many_endpoints)
{
	enum { ENDPOINTS = 5000 };
	struct buf text = BUF_INIT;

	buf_lit(&text, "sources: { shop: { postgres: \"postgresql:///shop\" } }\nendpoints:\n");
	for (int i = 0; i < ENDPOINTS; i++)
		buf_printf(&text,
			   "  \"GET /things/%d/{id}\":\n"
			   "    parameters: { id: { type: integer, minimum: 1 }, a: { type: string }, b: { type: "
			   "string } }\n"
			   "    gather:\n"
			   "      one: { from: shop, sql: \"select {id}\", expect: one }\n"
			   "      two: { from: shop, sql: \"select {a}\", expect: many }\n"
			   "    respond: { one: \"{one}\", two: \"{two}\", three: [ 1, 2, 3 ] }\n",
			   i);
	load(buf_cstr(&text));
	ck_assert_uint_eq(c->endpoint_count, ENDPOINTS);
	buf_done(&text);
}
END_TEST

/* No value of the environment stands in a message. */
START_TEST(nothing_leaks)
{
	setenv("TEST_SECRET", "hunter2", 1);
	static const char text[] =
		"server: { threads: \"${TEST_SECRET}\", listen: \"${TEST_SECRET}\" }\n"
		"log: { level: \"${TEST_SECRET}\" }\n"
		"sources: { shop: { postgres: \"postgresql:///shop\", password: \"\", semaphore: \"${TEST_SECRET}\" "
		"},\n"
		"  r: { http: \"https://u:${TEST_SECRET}@h\", proxy: \"${TEST_SECRET}\" },\n"
		"  h: { http: \"https://h\", headers: { A: { env: TEST_SECRET, file: a }, B: \"${TEST_SECRET}{x}\" } "
		"},\n"
		"  p: { files: \"${TEST_SECRET}\" } }\n"
		"endpoints:\n  \"GET /\":\n    status: ${TEST_SECRET}\n    gather:\n"
		"      a: { from: \"${TEST_SECRET}\", sql: a }\n"
		"      b: { from: shop, sql: a, expect: \"${TEST_SECRET}\", on_error: \"${TEST_SECRET}\" }\n"
		"    parameters: { a: { type: \"${TEST_SECRET}\", default: \"${TEST_SECRET}\" } }\n";
	load_wrong("test.yaml", text, sizeof(text) - 1);
	ck_assert_uint_ge(d.errors, 7);
	for (size_t i = 0; i < d.count; i++)
		ck_assert_msg(!strstr(d.items[i].text, "hunter2"), "%s", d.items[i].text);
	unsetenv("TEST_SECRET");
}
END_TEST

START_TEST(too_large)
{
	size_t len = (32u << 20) + 1;
	char *text = malloc(len);
	memset(text, '\n', len);
	load_wrong("large.yaml", text, len);
	ck_assert_str_eq(d.items[0].text, "the file is larger than 32 MiB");
	free(text);
}
END_TEST

/* --- the JSON Schema ------------------------------------------------------------------------------------------- */

/* It is JSON; each key of each section is in it, but for those of later issues. */
START_TEST(json_schema)
{
	struct arena a;
	struct buf out = BUF_INIT;
	struct json *schema;
	char what[128];

	arena_init(&a);
	config_schema_print(&out, &drivers_language);
	ck_assert_msg(json_parse(&schema, &a, out.data, out.len, 64, what, sizeof(what)) == 0, "%s", what);
	const struct json *defs = json_member(schema, "$defs", 5);
	ck_assert_ptr_nonnull(defs);
	const struct section *of;
	for (size_t i = 0; (of = language_section(&drivers_language, i)); i++) {
		const struct json *section = json_member(defs, of->name, strlen(of->name));
		ck_assert_msg(section != NULL, "%s", of->name);
		const struct json *properties = json_member(section, "properties", 10);
		const struct key *k;
		for (size_t j = 0; (k = section_key(of, j)); j++) {
			const struct json *property = json_member(properties, k->name, strlen(k->name));
			ck_assert_msg(!property == (k->type == KEY_LATER), "%s.%s", of->name, k->name);
			ck_assert(k->type == KEY_LATER || k->help);
		}
	}
	buf_done(&out);
	arena_done(&a);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("good");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, defaults);
	tcase_add_test(t, threads);
	tcase_add_test(t, server);
	tcase_add_test(t, sources);
	tcase_add_test(t, credential);
	tcase_add_test(t, defaults_of_services);
	tcase_add_test(t, services);
	tcase_add_test(t, semaphores);
	tcase_add_test(t, semaphores_both_ways);
	tcase_add_test(t, steps_of_services);
	tcase_add_test(t, policies);
	tcase_add_test(t, sql_files);
	tcase_add_test(t, formats);
	tcase_add_test(t, parameters);
	tcase_add_test(t, body);
	tcase_add_test(t, steps);
	tcase_add_test(t, endpoints);
	tcase_add_test(t, kinds_of_text);
	tcase_add_test(t, diagnostics_outlive);
	tcase_add_test(t, variables_in_quotes);
	tcase_add_test(t, many_endpoints);
	tcase_add_test(t, nothing_leaks);
	tcase_add_test(t, too_large);
	tcase_add_test(t, json_schema);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
