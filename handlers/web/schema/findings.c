/* What is wrong so far. It becomes text at the end: most of what the branches of anyOf find is forgotten before. */
#include <string.h>

#include "base/format.h"
#include "base/reason.h"
#include "handlers/web/schema/internal.h"

/* A branch keeps as many as a reply names; nested branches together no more than that. */
enum { KEPT_MAX = 8 * MISTAKES_MAX };

enum argument { NOTHING, TEXT, LEAST, MOST };

/* name: the word as it is written; NULL: none. detail: of base/reason.h, with that argument; unit: of a bound. */
static const struct {
	const char *name, *detail;
	enum argument argument;
	const char *unit;
} keywords[] = {
	[KEYWORD_TYPE] = {"type", MISTAKE_TYPE, TEXT, NULL},
	[KEYWORD_INTEGER] = {"type", MISTAKE_INT64, NOTHING, NULL},
	[KEYWORD_NEVER] = {NULL, MISTAKE_NEVER, NOTHING, NULL},
	[KEYWORD_ENUM] = {"enum", MISTAKE_CHOICE, TEXT, NULL},
	[KEYWORD_CONST] = {"const", MISTAKE_TYPE, TEXT, NULL},
	[KEYWORD_MINIMUM] = {"minimum", MISTAKE_MINIMUM, TEXT, NULL},
	[KEYWORD_MAXIMUM] = {"maximum", MISTAKE_MAXIMUM, TEXT, NULL},
	[KEYWORD_ABOVE] = {"exclusiveMinimum", MISTAKE_ABOVE, TEXT, NULL},
	[KEYWORD_BELOW] = {"exclusiveMaximum", MISTAKE_BELOW, TEXT, NULL},
	[KEYWORD_MULTIPLE] = {"multipleOf", MISTAKE_MULTIPLE, TEXT, NULL},
	[KEYWORD_NUL] = {NULL, MISTAKE_NUL, NOTHING, NULL},
	[KEYWORD_SHORT] = {"minLength", NULL, LEAST, "character"},
	[KEYWORD_LONG] = {"maxLength", NULL, MOST, "character"},
	[KEYWORD_FORMAT] = {"format", MISTAKE_TYPE, TEXT, NULL},
	[KEYWORD_PATTERN] = {"pattern", MISTAKE_PATTERN, TEXT, NULL},
	[KEYWORD_PATTERN_SLOW] = {"pattern", MISTAKE_PATTERN_SLOW, NOTHING, NULL},
	[KEYWORD_MIN_ITEMS] = {"minItems", NULL, LEAST, "item"},
	[KEYWORD_MAX_ITEMS] = {"maxItems", NULL, MOST, "item"},
	[KEYWORD_UNIQUE] = {"uniqueItems", MISTAKE_UNIQUE, NOTHING, NULL},
	[KEYWORD_MIN_CONTAINS] = {"contains", NULL, LEAST, "fitting item"},
	[KEYWORD_MAX_CONTAINS] = {"maxContains", NULL, MOST, "fitting item"},
	[KEYWORD_MIN_PROPERTIES] = {"minProperties", NULL, LEAST, "member"},
	[KEYWORD_MAX_PROPERTIES] = {"maxProperties", NULL, MOST, "member"},
	[KEYWORD_REQUIRED] = {"required", MISTAKE_REQUIRED, NOTHING, NULL},
	[KEYWORD_DEPENDENT] = {"dependentRequired", MISTAKE_DEPENDENT, TEXT, NULL},
	[KEYWORD_UNKNOWN] = {"additionalProperties", MISTAKE_UNKNOWN, NOTHING, NULL},
	[KEYWORD_READ_ONLY] = {"readOnly", MISTAKE_READ_ONLY, NOTHING, NULL},
	[KEYWORD_NOT] = {"not", MISTAKE_NOT, NOTHING, NULL},
	[KEYWORD_ANY_OF] = {"anyOf", MISTAKE_NONE_OF, NOTHING, NULL},
	[KEYWORD_ONE_OF] = {"oneOf", MISTAKE_NONE_OF, NOTHING, NULL},
	[KEYWORD_ONE_OF_MANY] = {"oneOf", MISTAKE_MANY_OF, NOTHING, NULL},
	[KEYWORD_FILE] = {"type", MISTAKE_FILE, NOTHING, NULL},
	[KEYWORD_FILE_LONG] = {"maxLength", NULL, MOST, "byte"},
	[KEYWORD_MEDIA_TYPE] = {"contentMediaType", MISTAKE_MEDIA_TYPE, TEXT, NULL},
	[KEYWORD_COMPLEX] = {NULL, MISTAKE_COMPLEX, NOTHING, NULL},
};

/* --- keeping --- */

static void note_progress(struct progress *p, enum keyword k, size_t depth)
{
	p->count++;
	if (depth > p->deepest)
		p->deepest = depth;
	if (depth == p->depth && (k == KEYWORD_TYPE || k == KEYWORD_FILE || k == KEYWORD_NEVER || k == KEYWORD_ANY_OF ||
				  k == KEYWORD_ONE_OF))
		p->misfit = true;
	if (depth <= p->depth + 1 && (k == KEYWORD_ENUM || k == KEYWORD_CONST))
		p->choices++;
}

/* The next finding, with room for its steps; NULL: enough are kept. */
static struct finding *next_finding(struct schema_check *c)
{
	if (c->kept - c->first >= MISTAKES_MAX || c->kept == KEPT_MAX)
		return NULL;
	if (c->kept == c->capacity) {
		size_t capacity = c->capacity ? 2 * c->capacity : 4;
		struct finding *more = arena_array(c->arena, capacity, sizeof(*more));

		if (c->capacity)
			memcpy(more, c->findings, c->capacity * sizeof(*more));
		c->findings = more;
		c->capacity = capacity;
	}
	struct finding *f = &c->findings[c->kept++];
	if (!f->steps)
		f->steps = arena_array(c->arena, JSON_MAX_DEPTH, sizeof(*f->steps));
	return f;
}

bool schema_found_member(struct schema_check *c, const struct config_schema *s, enum keyword k, const char *member,
			 size_t len, const char *other)
{
	if (c->quiet)
		return false;
	note_progress(&c->progress, k, c->depth + (member != NULL));
	struct finding *f = next_finding(c);
	if (!f) {
		c->lost++;
		return false;
	}
	*f = (struct finding){.schema = s,
			      .keyword = k,
			      .member = member,
			      .member_len = len,
			      .other = other,
			      .steps = f->steps,
			      .depth = c->depth};
	for (size_t i = 0; i < c->depth; i++)
		f->steps[i] = c->path[i];
	return false;
}

bool schema_found(struct schema_check *c, const struct config_schema *s, enum keyword k)
{
	return schema_found_member(c, s, k, NULL, 0, NULL);
}

/* --- branches --- */

void branches_begin(struct schema_check *c, struct branches *b)
{
	*b = (struct branches){.first = c->first, .kept = c->kept, .lost = c->lost, .outer = c->progress};
}

void branch_begin(struct schema_check *c, struct branches *b)
{
	c->first = c->kept = b->kept + b->best_kept;
	c->lost = 0;
	c->progress = (struct progress){.depth = c->depth, .deepest = c->depth};
}

static bool is_further(const struct progress *a, const struct progress *b)
{
	if (a->misfit != b->misfit)
		return b->misfit;
	if (a->choices != b->choices)
		return a->choices < b->choices;
	if (a->deepest != b->deepest)
		return a->deepest > b->deepest;
	return a->count < b->count;
}

void branch_failed(struct schema_check *c, struct branches *b)
{
	size_t begin = b->kept + b->best_kept;

	if (b->any && !is_further(&c->progress, &b->best))
		return;
	b->any = true;
	b->best = c->progress;
	b->best_kept = c->kept - begin;
	b->best_lost = c->lost;
	/* Exchanged, not copied: each keeps steps of its own. */
	for (size_t i = 0; begin > b->kept && i < b->best_kept; i++) {
		struct finding f = c->findings[b->kept + i];
		c->findings[b->kept + i] = c->findings[begin + i];
		c->findings[begin + i] = f;
	}
}

void branches_end(struct schema_check *c, struct branches *b, bool fits)
{
	c->first = b->first;
	c->kept = b->kept;
	c->lost = b->lost;
	c->progress = b->outer;
	if (fits || !b->any)
		return;
	c->kept += b->best_kept;
	c->lost += b->best_lost;
	c->progress.count += b->best.count;
	if (b->best.deepest > c->progress.deepest)
		c->progress.deepest = b->best.deepest;
	if (b->best.depth == c->progress.depth)
		c->progress.choices += b->best.choices;
}

/* --- rendering --- */

static const char *const type_descriptions[] = {
	[TYPE_STRING] = "a string", [TYPE_INTEGER] = "an integer",
	[TYPE_NUMBER] = "a number", [TYPE_BOOLEAN] = "true or false",
	[TYPE_ARRAY] = "an array",  [TYPE_OBJECT] = "an object",
	[TYPE_ANY] = "null",
};

static void describe_types(struct buf *out, const struct config_schema *s)
{
	unsigned types = s->types ? s->types : BIT(s->type), left = types;

	for (unsigned type = 0; type <= TYPE_ANY; type++) {
		if (!(left & BIT(type)))
			continue;
		if (left != types)
			buf_str(out, left == BIT(type) ? " or " : ", ");
		left &= ~BIT(type);
		buf_str(out, type_descriptions[type]);
	}
}

static void describe_choices(struct buf *out, const struct config_schema *s)
{
	for (size_t i = 0; i < s->enumeration_count && out->len < 300; i++) {
		if (i > 0)
			buf_lit(out, ", ");
		value_text(&s->enumeration[i], out);
	}
}

static void describe(struct buf *out, const struct finding *f)
{
	const struct config_schema *s = f->schema;

	switch (f->keyword) {
	case KEYWORD_TYPE:
		describe_types(out, s);
		break;
	case KEYWORD_ENUM:
		describe_choices(out, s);
		break;
	case KEYWORD_CONST:
		value_text(s->constant, out);
		break;
	case KEYWORD_MINIMUM:
		buf_str(out, s->minimum);
		break;
	case KEYWORD_MAXIMUM:
		buf_str(out, s->maximum);
		break;
	case KEYWORD_ABOVE:
		buf_str(out, s->exclusive_minimum);
		break;
	case KEYWORD_BELOW:
		buf_str(out, s->exclusive_maximum);
		break;
	case KEYWORD_MULTIPLE:
		buf_str(out, s->multiple_of);
		break;
	case KEYWORD_FORMAT:
		buf_str(out, format_description(s->format));
		break;
	case KEYWORD_PATTERN:
		buf_str(out, s->pattern);
		break;
	case KEYWORD_MEDIA_TYPE:
		for (size_t i = 0; i < s->media_type_count; i++)
			buf_printf(out, "%s%s", i ? ", " : "", s->media_types[i]);
		break;
	case KEYWORD_DEPENDENT:
		buf_str(out, f->other);
		break;
	default:
		break;
	}
}

static uint64_t bound_of(const struct config_schema *s, enum keyword k)
{
	switch (k) {
	case KEYWORD_SHORT:
		return s->min_length;
	case KEYWORD_LONG:
	case KEYWORD_FILE_LONG:
		return s->max_length;
	case KEYWORD_MIN_ITEMS:
		return s->min_items;
	case KEYWORD_MAX_ITEMS:
		return s->max_items;
	case KEYWORD_MIN_CONTAINS:
		return s->has_min_contains ? s->min_contains : 1;
	case KEYWORD_MAX_CONTAINS:
		return s->max_contains;
	case KEYWORD_MIN_PROPERTIES:
		return s->min_properties;
	default:
		return s->max_properties;
	}
}

static void render_bound(struct schema_check *c, const struct finding *f, const struct mistake_place *at)
{
	const char *name = keywords[f->keyword].name, *unit = keywords[f->keyword].unit;
	unsigned long long n = bound_of(f->schema, f->keyword);
	const char *plural = n == 1 ? "" : "s";

	if (keywords[f->keyword].argument == LEAST)
		mistake_add(c->mistakes, at, name, MISTAKE_SHORT, n, unit, plural);
	else
		mistake_add(c->mistakes, at, name, MISTAKE_LONG, n, unit, plural);
}

static void render(struct schema_check *c, const struct finding *f)
{
	const char *name = keywords[f->keyword].name, *detail = keywords[f->keyword].detail;
	struct mistake_place at = mistake_at(c->in, c->name);
	struct buf text = BUF_INIT;

	at.steps = f->steps;
	at.depth = f->depth;
	at.member = f->member;
	at.member_len = f->member_len;
	if (f->keyword == KEYWORD_INTEGER) {
		mistake_add(c->mistakes, &at, name, MISTAKE_INT64, (long long)INT64_MIN, (long long)INT64_MAX);
	} else if (keywords[f->keyword].argument >= LEAST) {
		render_bound(c, f, &at);
	} else {
		const char *hole = strstr(detail, "%s");

		buf_append(&text, detail, hole ? (size_t)(hole - detail) : strlen(detail));
		if (hole) {
			describe(&text, f);
			buf_str(&text, hole + 2);
		}
		mistake_add(c->mistakes, &at, name, "%s", buf_cstr(&text));
	}
	buf_done(&text);
}

void findings_render(struct schema_check *c)
{
	for (size_t i = 0; i < c->kept; i++)
		render(c, &c->findings[i]);
	c->mistakes->count += c->lost;
}
