/* Problem documents. */
#include "handlers/web/problem.h"

#include <string.h>

#include "base/compiler.h"
#include "base/json_out.h"
#include "base/reason.h"
#include "base/utf8.h"

const char *problem_outcome_of_refusal(const char *method, size_t len)
{
	static const char *const safe[] = {"GET", "HEAD", "OPTIONS"};

	for (size_t i = 0; i < ARRAY_SIZE(safe); i++) {
		if (strlen(safe[i]) == len && memcmp(safe[i], method, len) == 0)
			return NULL;
	}
	return len ? "none" : NULL;
}

static void member(struct buf *out, const char *name, const char *value)
{
	if (!value || !*value || !utf8_valid(value, strlen(value)))
		return;
	buf_char(out, ',');
	json_string(out, name, strlen(name));
	buf_char(out, ':');
	json_string(out, value, strlen(value));
}

void problem_render(struct buf *out, const struct problem *p)
{
	buf_lit(out, "{\"type\":\"about:blank\"");
	member(out, "title", reason_title(p->status));
	buf_lit(out, ",\"status\":");
	buf_int(out, p->status);
	member(out, "detail", p->detail);
	member(out, "instance", p->instance);
	member(out, "code", p->code);
	member(out, "step", p->step);
	member(out, "outcome", p->outcome);
	if (p->members_json && *p->members_json) {
		buf_char(out, ',');
		buf_str(out, p->members_json);
	}
	buf_char(out, '}');
}
