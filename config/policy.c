/* What holds around a step or an endpoint: cache, rate, join, and whether they fit what it does. */
#include <string.h>

#include "config/language.h"

/* --- forms ----------------------------------------------------------------------------------------------------- */

/* 5s, or { ttl: 5s, stale: 30s }. */
void decode_cache(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_cache *cache = (struct config_cache *)(void *)((char *)object + k->offset);

	if (n->kind == NODE_MAPPING)
		decode_section(dc, &section_cache, k->name, n, cache);
	else
		decode_as(dc, &section_cache, "ttl", k->name, n, cache);
}

/* 100/s. */
void decode_rate(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	static const struct {
		const char *unit;
		int64_t us;
	} units[] = {{"/s", 1000000}, {"/m", 60000000}, {"/h", 3600000000}};
	struct config_rate *rate = (struct config_rate *)(void *)((char *)object + k->offset);
	size_t digits = n->kind == NODE_STRING ? strspn(n->text, "0123456789") : 0;
	unsigned count = 0;

	for (size_t i = 0; i < digits && count <= 1000000; i++)
		count = count * 10 + (unsigned)(n->text[i] - '0');
	for (size_t i = 0; i < ARRAY_SIZE(units) && count >= 1 && count <= 1000000; i++) {
		if (strcmp(n->text + digits, units[i].unit) == 0)
			*rate = (struct config_rate){count, units[i].us};
	}
	if (rate->count == 0)
		decode_unexpected(dc, k->name, n, "requests in a time, such as 100/s, 100/m or 100/h");
}

/* --- join ------------------------------------------------------------------------------------------------------ */

/* The index of the step of that name; -1 if there is none (reported). */
static int find_step(struct decoder *dc, const struct node *mapping, const char *name)
{
	const struct node *gather = dc->gather, *n = node_member(mapping, "into");
	const char **names = arena_array(&dc->diagnostics->arena, gather->count, sizeof(*names));

	for (size_t i = 0; i < gather->count; i++) {
		names[i] = gather->members[i].key->text;
		if (strcmp(names[i], name) == 0)
			return (int)i;
	}
	decode_unknown(dc, n->at, "step", n->expanded ? "from the environment" : name, names, gather->count);
	return -1;
}

void decode_join(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct join_words *words = arena_zalloc(dc->arena, sizeof(*words));
	const struct config_join **join = (const struct config_join **)(void *)((char *)object + k->offset);

	words->join.at = n->at;
	decode_section(dc, &section_join, k->name, n, words);
	int into = words->into ? find_step(dc, n, words->into) : -1;
	if (into >= 0)
		words->join.into = (unsigned)into;
	*join = &words->join;
}

/* Are its results rows, as far as that is known before it runs? The JSON of a service or a file may be. */
static bool gives_rows(const struct config_step *s, bool one_will_do)
{
	if (s->expect == EXPECT_DEFAULT) /* its action was refused */
		return true;
	switch (s->expect) {
	case EXPECT_MANY:
	case EXPECT_JSON:
		return !s->no_rows;
	case EXPECT_ONE:
	case EXPECT_MAYBE:
		return one_will_do && !s->no_rows;
	default:
		return false;
	}
}

/* Does following the joins from step i lead back to it? */
static bool is_circle(const struct config_endpoint *e, size_t i)
{
	size_t at = i;
	for (size_t hops = 0; hops < e->step_count && e->steps[at].join; hops++) {
		at = e->steps[at].join->into;
		if (at == i)
			return true;
	}
	return false;
}

static void check_join(struct decoder *dc, const struct config_endpoint *e, size_t i)
{
	const struct config_step *s = &e->steps[i], *into = &e->steps[s->join->into];

	if (into == s)
		decode_error(dc, s->join->at, "join: step \"%s\" can't be joined into itself", s->name);
	else if (is_circle(e, i))
		decode_error(dc, s->join->at, "join: steps \"%s\" and \"%s\" are joined into each other in a circle",
			     s->name, into->name);
	if (!gives_rows(s, false))
		decode_error(dc, s->join->at, "join: step \"%s\" gives no rows to embed", s->name);
	if (!gives_rows(into, true))
		decode_error(dc, s->join->at, "join: step \"%s\" gives no rows to embed anything in", into->name);
	for (size_t j = 0; j < i; j++) {
		const struct config_join *other = e->steps[j].join;
		if (other && s->join->as && other->as && other->into == s->join->into &&
		    strcmp(other->as, s->join->as) == 0)
			decode_error(dc, s->join->at, "join: step \"%s\" is joined into \"%s\" as \"%s\" already",
				     e->steps[j].name, into->name, other->as);
	}
}

/* --- what fits ------------------------------------------------------------------------------------------------- */

/* If it is, what it does may not be kept: it changes something. */
static const char *why_no_read(struct decoder *dc, const struct config_step *s)
{
	const struct action_row *action = &s->source->kind->actions[s->action];
	enum http_method method = dc->endpoint->method;

	if (action->writes || s->write)
		return "only what a step reads can be kept, and this one writes";
	if (action->may_write && method != METHOD_GET)
		return arena_printf(&dc->diagnostics->arena,
				    "only what a step reads can be kept, and in a %s endpoint %s may write",
				    http_method_names[method], action->name);
	return s->is_reply ? "the file is the reply: nothing of it is kept" : NULL;
}

void check_step_policies(struct decoder *dc, const struct node *mapping, const struct config_step *s)
{
	const char *why = why_no_read(dc, s);

	if (why)
		decode_report(dc, mapping, "cache", why);
	if (s->on_error == ON_ERROR_STALE && !node_member(mapping, "cache"))
		decode_report(dc, mapping, "on_error", "stale is the cached result: the step has no \"cache\"");
	if (s->keep && !s->join)
		decode_report(dc, mapping, "keep", "it is for a step with \"join\"");
}

/* The step's result is the whole reply. */
static void check_reply(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e)
{
	static const char *const none_of[] = {"respond", "status", "location", "cache"};
	static const char *const none_of_step[] = {"when", "on_error", "join"};
	const struct config_step *s = &e->steps[0];
	const struct node *step = node_member(dc->gather, s->name);
	const char *action = s->source->kind->actions[s->action].name;
	const char *why = arena_printf(&dc->diagnostics->arena, "the reply is the file that \"%s\" names", action);

	if (e->method != METHOD_GET)
		decode_report(dc, step, action, "only a GET endpoint answers with a file");
	for (size_t i = 0; i < ARRAY_SIZE(none_of); i++)
		decode_report(dc, mapping, none_of[i], why);
	for (size_t i = 0; i < ARRAY_SIZE(none_of_step); i++)
		decode_report(dc, step, none_of_step[i], why);
}

static void check_endpoint_cache(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e)
{
	if (e->method != METHOD_GET)
		decode_report(dc, mapping, "cache", "only the replies of GET endpoints can be kept");
	for (size_t i = 0; i < e->step_count; i++) {
		if (e->steps[i].write)
			decode_report(dc, mapping, "cache",
				      arena_printf(&dc->diagnostics->arena,
						   "the reply can't be kept: step \"%s\" writes", e->steps[i].name));
	}
}

void check_endpoint_policies(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e)
{
	if (node_member(mapping, "cache"))
		check_endpoint_cache(dc, mapping, e);
	/* Indices are those of the file, if no step was left out. */
	if (!dc->gather || e->step_count != dc->gather->count)
		return;
	for (size_t i = 0; i < e->step_count; i++) {
		const struct config_step *s = &e->steps[i];
		if (s->join && s->join->as)
			check_join(dc, e, i);
		if (!s->is_reply)
			continue;
		if (e->step_count == 1)
			check_reply(dc, mapping, e);
		else
			decode_report(dc, node_member(dc->gather, s->name), s->source->kind->actions[s->action].name,
				      "the reply is the file: it is an endpoint's only step");
	}
}
