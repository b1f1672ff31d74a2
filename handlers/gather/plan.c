/* Compiling a declared endpoint: references -> graph -> the order in which steps may start. */
#include "handlers/gather/plan.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "drivers/drivers.h"
#include "handlers/web/rate.h"

enum { STEP_MAX_ARGS = 256 };

/* Where one step's references gather while its driver compiles it. */
struct sink {
	struct reference_sink base;
	struct scope *scope;
	unsigned step;
	uint64_t needs;
	struct slot slots[STEP_MAX_ARGS];
	unsigned count;
};

static int note_need(struct sink *s, const struct slot *slot, const struct reference *ref)
{
	if (slot->kind != SLOT_STEP)
		return 0;
	if (slot->index == s->step) {
		diagnostics_error(s->scope->diagnostics, ref->at, "%s: a step can't refer to itself", ref->text);
		return -EINVAL;
	}
	s->needs |= UINT64_C(1) << slot->index;
	return 0;
}

static int sink_add(struct reference_sink *base, const struct reference *ref)
{
	struct sink *s = container_of(base, struct sink, base);
	struct slot slot;
	if (slot_compile(&slot, ref, s->scope) < 0 || note_need(s, &slot, ref) < 0)
		return -1;
	for (unsigned i = 0; i < s->count; i++) {
		if (slot_same(&s->slots[i], &slot))
			return (int)i;
	}
	if (s->count == STEP_MAX_ARGS) {
		diagnostics_error(s->scope->diagnostics, ref->at, "a step may have at most %d references",
				  STEP_MAX_ARGS);
		return -1;
	}
	s->slots[s->count] = slot;
	return (int)s->count++;
}

static int sink_constant(struct reference_sink *base, const struct node *n, struct value *out)
{
	return constant_value(out, n, container_of(base, struct sink, base)->scope);
}

/* The one reference that n, the value of `key`, must be. */
static int one_reference(struct reference *out, const struct node *n, const char *key, const struct scope *scope)
{
	struct template t;
	if (n->kind != NODE_STRING || !template_parse(&t, scope->arena, n, scope->diagnostics))
		return -EINVAL;
	if (!template_is_reference(&t)) {
		diagnostics_error(scope->diagnostics, n->at, "%s: expected one reference, as \"{name}\"", key);
		return -EINVAL;
	}
	*out = t.pieces[0].reference;
	return 0;
}

static int compile_when(struct plan_step *p, struct sink *s)
{
	struct reference ref;
	if (!p->config->when)
		return 0;
	p->has_when = true;
	if (one_reference(&ref, p->config->when, "when", s->scope) < 0 || slot_compile(&p->when, &ref, s->scope) < 0)
		return -EINVAL;
	return note_need(s, &p->when, &ref);
}

/* Its own semaphore and its source's. Always taken in one order, so that two steps can't wait for each other. */
static void order_semaphores(struct plan_step *p)
{
	int own = p->config->semaphore, source = p->config->source->semaphore;
	bool swap = own < 0 || (source >= 0 && source < own);
	p->semaphores[0] = swap ? source : own;
	p->semaphores[1] = swap ? own : source;
}

static int compile_step(struct plan_step *p, const struct config *c, struct scope *scope, unsigned index)
{
	const struct config_step *config = &scope->endpoint->steps[index];
	static struct sink s; /* large; configurations are compiled by one thread */
	s = (struct sink){.base = {sink_add, sink_constant}, .scope = scope, .step = index};
	bool reads = scope->endpoint->method == METHOD_GET || scope->endpoint->method == METHOD_HEAD;
	struct action_env env = {
		.arena = scope->arena,
		.diagnostics = scope->diagnostics,
		.references = &s.base,
		.endpoint = scope->endpoint,
		.read_only = reads && !config->write,
	};
	*p = (struct plan_step){
		.config = config,
		.driver = driver_of(config->source),
		.source = (unsigned)(config->source - c->sources),
	};
	int r = compile_when(p, &s);
	if (config->on_error == ON_ERROR_DEFAULT && constant_value(&p->substitute, config->default_node, scope) < 0)
		r = -EINVAL;
	p->action = p->driver->action_new(config->source, config, &env);
	p->effect = env.effect;
	if (!p->action)
		r = -EINVAL;
	struct slot *args = arena_array(scope->arena, s.count ? s.count : 1, sizeof(*args));
	memcpy(args, s.slots, s.count * sizeof(*args));
	p->args = args;
	p->arg_count = s.count;
	p->needs = s.needs;
	order_semaphores(p);
	return r;
}

/* Steps whose needs can never be met refer to each other in a circle: name one such circle. */
static int check_cycles(const struct plan *plan, struct scope *scope)
{
	uint64_t startable = 0, before;
	do {
		before = startable;
		for (unsigned i = 0; i < plan->step_count; i++) {
			if ((plan->steps[i].needs & ~startable) == 0)
				startable |= UINT64_C(1) << i;
		}
	} while (startable != before);
	uint64_t all = plan->step_count == 64 ? UINT64_MAX : (UINT64_C(1) << plan->step_count) - 1;
	if (startable != all) {
		unsigned i = (unsigned)__builtin_ctzll(all & ~startable);
		uint64_t circle = plan->steps[i].needs & ~startable;
		const struct config_step *other = plan->steps[__builtin_ctzll(circle)].config;
		diagnostics_error(scope->diagnostics, plan->steps[i].config->at,
				  "step '%s' can never start: it waits, in a circle, for step '%s'",
				  plan->steps[i].config->name, other->name);
	}
	return startable == all ? 0 : -EINVAL;
}

/* The steps that have ended well before step i starts, whatever way that goes. */
static uint64_t before(const struct plan *plan, unsigned i)
{
	uint64_t all = plan->steps[i].needs, last;
	do {
		last = all;
		for (unsigned k = 0; k < plan->step_count; k++) {
			if (all & (UINT64_C(1) << k))
				all |= plan->steps[k].needs;
		}
	} while (all != last);
	return all;
}

/* Can step `failing` fail the request when `writing` has made its changes? */
static bool leaves_half(const struct plan *plan, unsigned failing, unsigned writing)
{
	return plan->steps[failing].config->on_error == ON_ERROR_FAIL &&
	       !(before(plan, writing) & (UINT64_C(1) << failing));
}

/* Two steps that write are two transactions. */
static void warn_of_halves(const struct plan *plan, struct scope *scope)
{
	for (unsigned b = 1; b < plan->step_count; b++) {
		for (unsigned a = 0; a < b && plan->steps[b].effect == ACTION_WRITES; a++) {
			if (plan->steps[a].effect != ACTION_WRITES)
				continue;
			bool b_fails = leaves_half(plan, b, a);
			if (!b_fails && !leaves_half(plan, a, b))
				continue;
			diagnostics_warning(scope->diagnostics, plan->steps[b].config->at,
					    "the steps '%s' and '%s' both write: if '%s' fails, what '%s' has changed "
					    "stays; one statement can do both (with … as (insert …))",
					    plan->steps[a].config->name, plan->steps[b].config->name,
					    plan->steps[b_fails ? b : a].config->name,
					    plan->steps[b_fails ? a : b].config->name);
			break;
		}
	}
}

/* A step that others are joined into is embedded with them: they come first. config refused circles. */
static void order_joins(struct plan *plan, struct arena *a)
{
	uint8_t *order = arena_alloc(a, plan->step_count + 1);
	uint64_t placed = 0, awaited;
	unsigned before;
	do {
		awaited = 0;
		for (unsigned i = 0; i < plan->step_count; i++) {
			const struct config_join *join = plan->steps[i].config->join;
			if (join && !(placed & (UINT64_C(1) << i)))
				awaited |= UINT64_C(1) << join->into;
		}
		before = plan->join_count;
		for (unsigned i = 0; i < plan->step_count; i++) {
			uint64_t bit = UINT64_C(1) << i;
			if (!plan->steps[i].config->join || ((placed | awaited) & bit))
				continue;
			order[plan->join_count++] = (uint8_t)i;
			placed |= bit;
		}
	} while (plan->join_count != before);
	plan->joins = order;
}

static int compile_header(struct plan_header *h, const char *name, const struct node *value, enum text_escape escape,
			  struct scope *scope)
{
	char *lower = arena_strdup(scope->arena, name);
	for (char *p = lower; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	*h = (struct plan_header){.name = {lower, strlen(lower)}, .escape = escape};
	return text_compile(&h->value, value, scope);
}

static int compile_created(struct plan *plan, struct scope *scope)
{
	const struct config_endpoint *e = scope->endpoint;
	struct reference ref;
	plan->has_created = e->created;
	plan->may_be_minimal = e->method != METHOD_GET && (e->status == 200 || e->status == 201);
	if (!e->created)
		return 0;
	return one_reference(&ref, e->created, "created", scope) < 0 ? -EINVAL
								     : slot_compile(&plan->created, &ref, scope);
}

static int compile_etag(struct plan *plan, struct scope *scope)
{
	const struct config_endpoint *e = scope->endpoint;
	plan->has_etag = e->etag;
	return e->etag && !endpoint_hashes(e) ? text_compile(&plan->etag, e->etag, scope) : 0;
}

static int compile_reply_headers(struct plan *plan, struct scope *scope)
{
	const struct config_endpoint *e = scope->endpoint;
	size_t count = (e->headers ? e->headers->count : 0) + (e->location ? 1 : 0);
	plan->reply_headers = arena_array(scope->arena, count ? count : 1, sizeof(*plan->reply_headers));
	int r = 0;
	for (size_t i = 0; e->headers && i < e->headers->count; i++) {
		const struct node_member *m = &e->headers->members[i];
		if (compile_header(&plan->reply_headers[plan->reply_header_count++], m->key->text, m->value, TEXT_PLAIN,
				   scope) < 0)
			r = -EINVAL;
	}
	if (e->location && compile_header(&plan->reply_headers[plan->reply_header_count++], "location", e->location,
					  TEXT_URL, scope) < 0)
		r = -EINVAL;
	return r;
}

static int compile_steps(struct plan *plan, const struct config *c, struct scope *scope)
{
	const struct config_endpoint *e = scope->endpoint;
	if (e->step_count > PLAN_MAX_STEPS) {
		diagnostics_error(scope->diagnostics, e->at, "an endpoint may have at most %d steps", PLAN_MAX_STEPS);
		return -EINVAL;
	}
	int r = 0;
	plan->step_count = (unsigned)e->step_count;
	plan->steps = arena_array(scope->arena, e->step_count ? e->step_count : 1, sizeof(*plan->steps));
	for (unsigned i = 0; i < plan->step_count; i++) {
		if (compile_step(&plan->steps[i], c, scope, i) < 0)
			r = -EINVAL;
	}
	order_joins(plan, scope->arena);
	if (r == 0)
		r = check_cycles(plan, scope);
	if (r == 0)
		warn_of_halves(plan, scope);
	return r;
}

/* All of the request that the reply can depend on. */
static void compile_key(struct plan *plan, const struct scope *scope)
{
	static const enum slot_kind whole[] = {SLOT_BODY, SLOT_METHOD, SLOT_PATH, SLOT_ID, SLOT_IP};
	size_t parameters = plan->endpoint->parameter_count;
	struct slot *key = arena_array(scope->arena, parameters + scope->header_count + ARRAY_SIZE(whole),
				       sizeof(*key));
	for (unsigned i = 0; i < parameters; i++)
		key[plan->key_count++] = (struct slot){.kind = SLOT_PARAMETER, .index = i};
	for (unsigned i = 0; i < scope->header_count; i++)
		key[plan->key_count++] = (struct slot){.kind = SLOT_HEADER, .index = i};
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++) {
		bool sent = whole[i] == SLOT_BODY && scope->kinds & BIT(SLOT_SENT);
		if (sent || scope->kinds & BIT(whole[i]))
			key[plan->key_count++] = (struct slot){.kind = whole[i]};
	}
	plan->key = key;
}

static uint64_t hash_node(uint64_t h, const struct node *n)
{
	struct buf text = BUF_INIT;
	node_render(n, &text);
	h = hash_bytes(h, text.data, text.len);
	buf_done(&text);
	return h;
}

static uint64_t hash_source(uint64_t h, const struct plan_step *p, const uint64_t *identity)
{
	struct buf results = BUF_INIT;
	if (p->driver->source_results)
		p->driver->source_results(p->config->source, &results);
	h = hash_bytes(h, identity, sizeof(*identity));
	h = hash_bytes(h, results.data, results.len);
	buf_done(&results);
	return h;
}

/* A cached value outlives this configuration: the next one finds it again if nothing has changed that it
 * depends on. */
static void identify(struct plan *plan, const uint64_t *sources)
{
	const struct config_endpoint *e = plan->endpoint;
	plan->identity = hash_node(HASH_INIT, e->node);
	for (unsigned i = 0; i < plan->step_count; i++) {
		struct plan_step *p = &plan->steps[i];
		uint64_t h = hash_source(HASH_INIT, p, &sources[p->source]);
		p->identity = hash_node(h, p->config->node);
		plan->identity = hash_bytes(plan->identity, &p->identity, sizeof(p->identity));
	}
	plan->rate_identity = rate_identity(e->name, &e->rate);
}

struct plan *plan_compile(const struct config *c, const struct config_endpoint *e, const uint64_t *sources,
			  struct arena *a, struct diagnostics *d)
{
	struct scope scope = {.endpoint = e, .arena = a, .diagnostics = d};
	struct plan *plan = arena_zalloc(a, sizeof(*plan));
	plan->endpoint = e;
	int steps = compile_steps(plan, c, &scope);
	if (scope.kinds & (BIT(SLOT_BODY) | BIT(SLOT_SENT)))
		plan->body_wanted = BODY_REQUIRED;
	int respond = respond_compile(&plan->respond, &scope);
	int created = compile_created(plan, &scope);
	if (e->idempotency && e->idempotency->store)
		plan->store = (unsigned)(e->idempotency->store - c->sources);
	int headers = compile_reply_headers(plan, &scope);
	int etag = compile_etag(plan, &scope);
	const char **names = arena_array(a, scope.header_count ? scope.header_count : 1, sizeof(*names));
	memcpy(names, scope.headers, scope.header_count * sizeof(*names));
	plan->headers = names;
	plan->header_count = scope.header_count;
	if (plan->body_wanted == BODY_ANY && scope.kinds & (BIT(SLOT_BODY) | BIT(SLOT_SENT)))
		plan->body_wanted = BODY_JSON;
	if (plan->body_wanted == BODY_REQUIRED && !e->body && e->method == METHOD_GET)
		diagnostics_warning(d, e->at,
				    "a step refers to {body}, which requests of GET hardly ever have: without one they "
				    "are 400");
	compile_key(plan, &scope);
	identify(plan, sources);
	return steps < 0 || respond < 0 || created < 0 || headers < 0 || etag < 0 ? NULL : plan;
}

/* --- what is counted --- */

void plan_count(struct plan *p)
{
	struct buf name = BUF_INIT;
	for (unsigned i = 0; i < p->step_count; i++) {
		struct plan_step *s = &p->steps[i];
		name.len = 0;
		buf_printf(&name, "%s\n%s", p->endpoint->name, s->config->name);
		s->tally = tally_take(&step_tally, buf_cstr(&name));
		s->source_tally = tally_take(&source_tally, s->config->source->name);
	}
	buf_done(&name);
}

void plan_uncount(struct plan *p)
{
	for (unsigned i = 0; p && i < p->step_count; i++) {
		tally_drop(p->steps[i].tally);
		tally_drop(p->steps[i].source_tally);
		p->steps[i].tally = p->steps[i].source_tally = NULL;
	}
}
