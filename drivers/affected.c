/* Bounds on what a write changes. */
#include "drivers/affected.h"

#include <errno.h>
#include <stdio.h>

#include "base/decimal.h"

int affected_compile(struct affected *out, const struct config_step *s, struct action_env *env)
{
	const struct config_affected *a = &s->affected;
	struct template t;

	*out = (struct affected){.given = a->given, .least = a->least, .most = a->most, .slot = -1};
	if (!a->reference)
		return 0;
	if (!template_parse(&t, env->arena, a->reference, env->diagnostics))
		return -EINVAL;
	if (!template_is_reference(&t)) {
		diagnostics_error(env->diagnostics, a->at, "affected: expected one reference, as \"{name}\"");
		return -EINVAL;
	}
	const struct template_piece *piece = t.pieces;
	out->reference = &piece->reference;
	out->slot = env->references->add(env->references, out->reference);
	return out->slot < 0 ? -EINVAL : 0;
}

int affected_bounds(const struct affected *a, const struct value *args, int64_t *least, int64_t *most, struct error *e)
{
	char text[sizeof(e->public)];
	int64_t n = -1;

	*least = a->least;
	*most = a->most;
	if (a->slot < 0)
		return 0;
	const struct value *v = &args[a->slot];
	if (v->kind == VALUE_INT)
		n = v->integer;
	else if (v->kind == VALUE_NUMBER && !decimal_to_int64(v->text, v->len, &n))
		n = -1;
	*least = *most = n;
	if (n >= 0)
		return 0;
	snprintf(text, sizeof(text), "%.100s %s.", a->reference->text, UNFIT_NOT_COUNT);
	return error_set(e, -EINVAL, v->from_request ? 400 : 500, v->from_request ? text : NULL, "affected: %s", text);
}

int affected_check(const struct affected *a, const struct value *args, int64_t n, const char *what, struct error *e)
{
	int64_t least, most;

	if (!a->given)
		return 0;
	int r = affected_bounds(a, args, &least, &most, e);
	if (r < 0 || (n >= least && n <= most))
		return r;
	if (n == 0)
		return error_say(e, -ENOENT, REASON_NOTHING_TO_CHANGE, "%s: affected: nothing would be changed", what);
	if (most == INT64_MAX)
		return error_say(e, -EMLINK, REASON_CHANGES_OTHERWISE,
				 "%s: affected: %lld would be changed, and at least %lld must be", what, (long long)n,
				 (long long)least);
	return error_say(e, -EMLINK, REASON_CHANGES_OTHERWISE,
			 "%s: affected: %lld would be changed, and from %lld to %lld may be", what, (long long)n,
			 (long long)least, (long long)most);
}
