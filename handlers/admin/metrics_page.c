/* The page around the metrics. */
#include "handlers/admin/metrics_page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "async/task.h"
#include "base/mem.h"
#include "handlers/web/percent.h"

#define TEXT_TYPE         "text/plain; version=0.0.4; charset=utf-8"
#define OPEN_METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* --- what is wanted --- */

/* Add the part of that name. Returns false if there is none. */
static bool add_part(unsigned *parts, const char *name, size_t len)
{
	for (unsigned i = 0; i < METRIC_PARTS; i++) {
		if (strlen(metric_part_names[i]) == len && memcmp(metric_part_names[i], name, len) == 0) {
			*parts |= BIT(i);
			return true;
		}
	}
	return false;
}

/* http,steps */
static bool add_parts(unsigned *parts, const char *list, size_t len)
{
	const char *end = list + len;
	for (;;) {
		const char *comma = memchr(list, ',', (size_t)(end - list));
		const char *stop = comma ? comma : end;
		if (!add_part(parts, list, (size_t)(stop - list)))
			return false;
		if (!comma)
			return true;
		list = comma + 1;
	}
}

/* One `name=value` of the query. What is not collect[] is passed over. */
static bool take_pair(struct exchange *x, unsigned *parts, const char *pair, size_t len)
{
	static const char name[] = "collect[]=";
	char *text = arena_alloc(&x->arena, len + 1);
	ssize_t n = percent_decode(text, pair, len, true);
	if (n < (ssize_t)strlen(name) || memcmp(text, name, strlen(name)) != 0)
		return true;
	return add_parts(parts, text + strlen(name), (size_t)n - strlen(name));
}

/* The parts that the query asks for; nothing is asked: all. Returns false if it names one that there is not. */
static bool take_parts(struct exchange *x, unsigned *parts)
{
	const char *at = x->query.base, *end = at ? at + x->query.len : NULL;
	*parts = 0;
	while (at && at < end) {
		const char *next = memchr(at, '&', (size_t)(end - at));
		const char *stop = next ? next : end;
		if (!take_pair(x, parts, at, (size_t)(stop - at)))
			return false;
		at = next ? next + 1 : end;
	}
	if (*parts == 0)
		*parts = METRICS_ALL;
	return true;
}

/* The weight of a member of a list such as Accept, in thousandths; -1: it is not there (RFC 9110, 12.4.2). */
static int weight_of(struct span list, const char *word)
{
	size_t len = strlen(word);
	const char *at = list.base, *end = at ? at + list.len : NULL;
	while (at && at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;
		while (at < stop && (*at == ' ' || *at == '\t'))
			at++;
		bool is = (size_t)(stop - at) >= len && strncasecmp(at, word, len) == 0 &&
			  (at + len == stop || strchr("; \t", at[len]));
		const char *q = is ? memmem(at, (size_t)(stop - at), ";q=", 3) : NULL;
		if (is && q) {
			char number[8] = {0};
			memcpy(number, q + 3, (size_t)(stop - q - 3) < 5 ? (size_t)(stop - q - 3) : 5);
			return (int)(strtod(number, NULL) * 1000);
		}
		if (is)
			return 1000;
		at = comma ? comma + 1 : end;
	}
	return -1;
}

static bool wants_open_metrics(struct exchange *x)
{
	struct span accept = exchange_header_list(x, "accept");
	int wanted = weight_of(accept, "application/openmetrics-text");
	return wanted > 0 && wanted >= weight_of(accept, "text/plain");
}

/* --- compressed --- */

/* A job of the executor, which owns all that it touches. */
struct squeeze {
	struct job job;
	struct buf text, gzip;
	int result;
};

static void squeeze_run(struct job *j)
{
	struct squeeze *s = container_of(j, struct squeeze, job);
	enum { GZIP_WINDOW = 15 + 16, MEMORY = 8 };
	z_stream z = {0};
	s->result = -ENOMEM;
	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		return;
	buf_reserve(&s->gzip, deflateBound(&z, s->text.len));
	z.next_in = (Bytef *)s->text.data;
	z.avail_in = (uInt)s->text.len;
	z.next_out = (Bytef *)s->gzip.data;
	z.avail_out = (uInt)s->gzip.cap;
	if (deflate(&z, Z_FINISH) == Z_STREAM_END)
		s->result = 0;
	s->gzip.len = z.total_out;
	deflateEnd(&z);
}

static void squeeze_free(struct job *j)
{
	struct squeeze *s = container_of(j, struct squeeze, job);
	buf_done(&s->text);
	buf_done(&s->gzip);
	free(s);
}

struct page {
	struct buf text;
	const char *type;
	struct executor *executor;
};

static void reply(struct exchange *x, const char *type, struct buf *body, bool compressed)
{
	struct reply r = {
		.status = 200,
		.content_type = type,
		.headers = {{{"vary", 4}, {"Accept, Accept-Encoding", 23}}},
		.header_count = 1,
		.body = *body,
	};
	if (compressed)
		r.headers[r.header_count++] = (struct header){{"content-encoding", 16}, {"gzip", 4}};
	*body = BUF_INIT;
	exchange_reply(x, &r);
}

/* Where the executor can't have it, it goes out as it is: metrics are wanted most when something is wrong. */
static int reply_compressed(void *arg)
{
	struct exchange *x = arg;
	struct page *p = x->handler_data;
	struct squeeze *s = mem_zalloc(sizeof(*s));
	s->job = (struct job){.run = squeeze_run, .free = squeeze_free};
	buf_append(&s->text, p->text.data, p->text.len);
	int r = executor_run(p->executor, &s->job, DEADLINE_NEVER);
	bool squeezed = r == 0 && s->result == 0;
	if (squeezed)
		reply(x, p->type, &s->gzip, true);
	else if (r != -ECANCELED)
		reply(x, p->type, &p->text, false);
	if (r == 0)
		squeeze_free(&s->job);
	buf_done(&p->text);
	return 0;
}

/* --- the page --- */

static void refuse(struct exchange *x)
{
	struct error e;
	error_say(&e, -EINVAL, REASON_PART_UNKNOWN, "an unknown part of the metrics");
	exchange_problem(x, &e, NULL, NULL, NULL);
}

void metrics_page(struct exchange *x, const struct metrics *m, const struct metrics_view *view)
{
	unsigned parts;
	struct page *p = arena_zalloc(&x->arena, sizeof(*p));
	if (!take_parts(x, &parts)) {
		refuse(x);
		return;
	}
	bool open_metrics = wants_open_metrics(x);
	p->type = open_metrics ? OPEN_METRICS_TYPE : TEXT_TYPE;
	p->executor = view->executor;
	metrics_render(m, view, parts, open_metrics, &p->text);
	x->handler_data = p;
	if (weight_of(exchange_header_list(x, "accept-encoding"), "gzip") > 0)
		exchange_spawn(x, reply_compressed);
	else
		reply(x, p->type, &p->text, false);
}
