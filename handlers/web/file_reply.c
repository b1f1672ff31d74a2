/* A reply that is a file: whole or in parts, if the client has it not already (RFC 9110: conditions 13, ranges 14).
 *
 * Nothing of a file is kept: while h2o sends one piece, the executor reads the next. */
#include "handlers/web/file_reply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "drivers/files/media_type.h"
#include "handlers/web/http_date.h"
#include "handlers/web/ranges.h"

enum { READ_TIMEOUT_S = 30 /* for a piece */ };

/* A part of the body: what stands before it, and bytes of the file. */
struct part {
	struct span head;
	uint64_t offset, length;
};

struct sending {
	struct exchange *exchange;
	struct arena *arena;
	struct file **file;
	const struct file_info *info;
	struct validators validators;
	char etag[64];
	char modified[HTTP_DATE_SIZE];
	const char *type;
	struct reply *reply;
	struct part parts[RANGES_MAX + 1]; /* of a multipart reply the last is its end */
	unsigned part_count;
};

/* --- its head --- */

static void add_header(struct reply *r, const char *name, const char *value)
{
	for (size_t i = 0; i < r->header_count; i++) {
		if (strcmp(r->headers[i].name.base, name) == 0)
			return; /* the endpoint declares it */
	}
	if (r->header_count < ARRAY_SIZE(r->headers))
		r->headers[r->header_count++] = (struct header){{name, strlen(name)}, {value, strlen(value)}};
}

static void describe_version(struct sending *s)
{
	const struct file_info *i = s->info;

	s->validators = (struct validators){.etag = s->etag, .modified_s = i->modified_s, .now_s = time(NULL)};
	if (s->validators.modified_s > s->validators.now_s) /* no date of ours lies in the future */
		s->validators.modified_s = s->validators.now_s;
	snprintf(s->etag, sizeof(s->etag), "\"%llx-%llx-%llx%08lx\"", (unsigned long long)i->inode,
		 (unsigned long long)i->size, (unsigned long long)i->modified_s, i->modified_ns);
	http_date_print(s->modified, s->validators.modified_s);
}

static void make_head(struct sending *s)
{
	struct reply *r = s->reply;

	s->type = r->content_type ? r->content_type : media_type_of(s->info->name);
	r->content_type = s->type;
	add_header(r, "etag", s->etag);
	add_header(r, "last-modified", s->modified);
	add_header(r, "accept-ranges", "bytes");
	add_header(r, "x-content-type-options", "nosniff");
}

/* --- its parts --- */

static const char *content_range(const struct sending *s, const struct byte_range *range)
{
	return arena_printf(s->arena, "bytes %llu-%llu/%llu", (unsigned long long)range->first,
			    (unsigned long long)range->last, (unsigned long long)s->info->size);
}

static void add_part(struct sending *s, const char *head, uint64_t offset, uint64_t length)
{
	s->parts[s->part_count++] = (struct part){{head, strlen(head)}, offset, length};
}

/* multipart/byteranges (RFC 9110, 14.6). */
static void make_multipart(struct sending *s, const struct byte_range *ranges, int count)
{
	struct arena *a = s->arena;
	uint64_t random[2] = {0};

	if (getrandom(random, sizeof(random), GRND_NONBLOCK) < 0)
		random[0] = (uint64_t)monotonic_us();
	const char *boundary = arena_printf(a, "%016llx%016llx", (unsigned long long)random[0],
					    (unsigned long long)random[1]);
	for (int i = 0; i < count; i++) {
		const char *head = arena_printf(a, "%s--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n",
						i ? "\r\n" : "", boundary, s->type, content_range(s, &ranges[i]));
		add_part(s, head, ranges[i].first, ranges[i].last - ranges[i].first + 1);
	}
	add_part(s, arena_printf(a, "\r\n--%s--\r\n", boundary), 0, 0);
	s->reply->content_type = arena_printf(a, "multipart/byteranges; boundary=%s", boundary);
}

static void make_parts(struct sending *s, const struct byte_range *ranges, int count)
{
	if (count == 0) {
		add_part(s, "", 0, s->info->size);
		return;
	}
	s->reply->status = 206;
	if (count == 1) {
		add_header(s->reply, "content-range", content_range(s, &ranges[0]));
		add_part(s, "", ranges[0].first, ranges[0].last - ranges[0].first + 1);
	} else {
		make_multipart(s, ranges, count);
	}
}

static uint64_t body_length(const struct sending *s)
{
	uint64_t length = 0;

	for (unsigned i = 0; i < s->part_count; i++)
		length += s->parts[i].head.len + s->parts[i].length;
	return length;
}

/* --- its body --- */

/* Suspends. What could not be sent as it was promised breaks the connection; the log says why. */
static int send_part(struct sending *s, struct part *part, struct buf *piece)
{
	struct exchange *x = s->exchange;
	int r = 0;

	buf_append(piece, part->head.base, part->head.len);
	while (r == 0 && part->length > 0) {
		size_t n = part->length < FILE_REPLY_PIECE ? (size_t)part->length : FILE_REPLY_PIECE;
		r = file_read(s->file, part->offset, n, piece, deadline_in_ms(READ_TIMEOUT_S * 1000), &x->error);
		part->offset += n;
		part->length -= n;
		if (r == 0 && piece->len >= FILE_REPLY_PIECE / 2) /* what is less goes with the next part */
			r = exchange_stream_write(x, piece);
	}
	return r;
}

/* Suspends. */
static int send_body(struct sending *s)
{
	struct buf piece = BUF_INIT;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->part_count; i++)
		r = send_part(s, &s->parts[i], &piece);
	if (r == 0)
		r = exchange_stream_write(s->exchange, &piece);
	buf_done(&piece);
	return r;
}

/* --- the request --- */

static int refuse_condition(struct sending *s)
{
	struct error e;

	error_say(&e, -ESTALE, REASON_FILE_CHANGED, "a condition failed");
	exchange_problem(s->exchange, &e, NULL, NULL, NULL);
	return 0;
}

static int refuse_range(struct sending *s)
{
	struct error e;
	const char *size = arena_printf(s->arena, "bytes */%llu", (unsigned long long)s->info->size);
	struct header range = {{"content-range", 13}, {size, strlen(size)}};

	error_say(&e, -ERANGE, REASON_RANGE_WRONG, "the range lies behind the end");
	exchange_problem(s->exchange, &e, NULL, NULL, &range);
	return 0;
}

int file_reply_send(struct exchange *x, const struct conditions *c, struct file **file, const struct file_info *info,
		    struct reply *head)
{
	struct sending s = {.exchange = x, .arena = &x->arena, .file = file, .info = info, .reply = head};
	struct byte_range ranges[RANGES_MAX];
	int count = 0;

	bool reads = x->method == METHOD_GET || x->method == METHOD_HEAD;

	describe_version(&s);
	unsigned status = conditions_status(c, &s.validators, reads);
	if (status == 412)
		return refuse_condition(&s);
	if (status == 200 && c->range.base && x->method == METHOD_GET && conditions_allow_range(c, &s.validators))
		count = ranges_parse(c->range, info->size, ranges);
	if (count == -ERANGE)
		return refuse_range(&s);
	make_head(&s);
	make_parts(&s, ranges, count);
	if (status == 304)
		head->status = 304;
	int r = exchange_stream_begin(x, head, body_length(&s));
	return r == 1 ? send_body(&s) : r;
}

size_t file_reply_ahead(const struct exchange *x, const struct conditions *c)
{
	bool plain = !c->range.base && !c->if_none_match.base && !c->if_modified_since.base;

	return plain && x->method == METHOD_GET ? FILE_REPLY_PIECE : 0;
}
