/* Problem documents and the titles of statuses. */
#include "handlers/web/problem.h"

#include <string.h>

#include "base/compiler.h"
#include "base/json_out.h"
#include "base/utf8.h"

static const char *const titles[] = {
	[200] = "OK",
	[201] = "Created",
	[202] = "Accepted",
	[203] = "Non-Authoritative Information",
	[204] = "No Content",
	[205] = "Reset Content",
	[206] = "Partial Content",
	[207] = "Multi-Status",
	[208] = "Already Reported",
	[226] = "IM Used",
	[300] = "Multiple Choices",
	[301] = "Moved Permanently",
	[302] = "Found",
	[303] = "See Other",
	[304] = "Not Modified",
	[305] = "Use Proxy",
	[307] = "Temporary Redirect",
	[308] = "Permanent Redirect",
	[400] = "Bad Request",
	[401] = "Unauthorized",
	[402] = "Payment Required",
	[403] = "Forbidden",
	[404] = "Not Found",
	[405] = "Method Not Allowed",
	[406] = "Not Acceptable",
	[407] = "Proxy Authentication Required",
	[408] = "Request Timeout",
	[409] = "Conflict",
	[410] = "Gone",
	[411] = "Length Required",
	[412] = "Precondition Failed",
	[413] = "Content Too Large",
	[414] = "URI Too Long",
	[415] = "Unsupported Media Type",
	[416] = "Range Not Satisfiable",
	[417] = "Expectation Failed",
	[418] = "I'm a Teapot",
	[421] = "Misdirected Request",
	[422] = "Unprocessable Content",
	[423] = "Locked",
	[424] = "Failed Dependency",
	[425] = "Too Early",
	[426] = "Upgrade Required",
	[428] = "Precondition Required",
	[429] = "Too Many Requests",
	[431] = "Request Header Fields Too Large",
	[451] = "Unavailable For Legal Reasons",
	[500] = "Internal Server Error",
	[501] = "Not Implemented",
	[502] = "Bad Gateway",
	[503] = "Service Unavailable",
	[504] = "Gateway Timeout",
	[505] = "HTTP Version Not Supported",
	[506] = "Variant Also Negotiates",
	[507] = "Insufficient Storage",
	[508] = "Loop Detected",
	[510] = "Not Extended",
	[511] = "Network Authentication Required",
};

const char *http_status_title(unsigned status)
{
	const char *title = status < ARRAY_SIZE(titles) ? titles[status] : NULL;
	return title ? title : status < 400 ? "Other" : "Error";
}

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
	member(out, "title", http_status_title(p->status));
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
