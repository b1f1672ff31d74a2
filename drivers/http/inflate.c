/* zlib's inflate, bounded by what may come out of it. */
#include "drivers/http/inflate.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum {
	PIECE_BYTES = 16 << 10, /* room that is made at a time */
	ANY_WRAPPING = 15 + 32, /* inflateInit2: the largest window; gzip or zlib, whichever it is */
	NO_WRAPPING = -15,
};

int inflater_begin(struct inflater *i, const char *coding, size_t len)
{
	static const char *const codings[] = {"gzip", "x-gzip", "deflate"};
	bool known = false;

	while (len > 0 && strchr(" \t", *coding))
		coding++, len--;
	while (len > 0 && strchr(" \t\r\n", coding[len - 1]))
		len--;
	if (len == 0 || (len == 8 && strncasecmp(coding, "identity", len) == 0))
		return 0;
	for (size_t k = 0; k < ARRAY_SIZE(codings) && !known; k++)
		known = len == strlen(codings[k]) && strncasecmp(coding, codings[k], len) == 0;
	if (!known || i->on)
		return -EOPNOTSUPP;
	i->z = (z_stream){0};
	if (inflateInit2(&i->z, ANY_WRAPPING) != Z_OK)
		return -ENOMEM;
	i->on = true;
	i->choosing = len == strlen("deflate") && strncasecmp(coding, "deflate", len) == 0;
	return 0;
}

/* zlib's header (RFC 1950, 2.2), or gzip's: some call that deflate, too. */
static bool is_wrapped(uint8_t first, uint8_t second)
{
	bool zlib = (first & 0x0f) == Z_DEFLATED && (first << 8 | second) % 31 == 0;

	return zlib || (first == 0x1f && second == 0x8b);
}

/* zlib would have taken the first byte before it says that the second one is wrong: so it is told beforehand. *p and
 * *len are what is left to be read. */
static int choose_wrapping(struct inflater *i, const uint8_t **p, size_t *len)
{
	if (!i->begun && *len > 0) {
		i->first = *(*p)++;
		--*len;
		i->begun = true;
	}
	if (!i->begun || *len == 0)
		return 0;
	i->choosing = false;
	i->bare = !is_wrapped(i->first, **p);
	if (i->bare && inflateReset2(&i->z, NO_WRAPPING) != Z_OK)
		return -ENOMEM;
	/* No byte of output can come of the first one alone. */
	uint8_t none;
	i->z.next_in = &i->first;
	i->z.avail_in = 1;
	i->z.next_out = &none;
	i->z.avail_out = 1;
	int r = inflate(&i->z, Z_NO_FLUSH);
	i->z.avail_out = 0;
	return (r == Z_OK || r == Z_BUF_ERROR) && i->z.avail_in == 0 ? 0 : -EBADMSG;
}

int inflater_some(struct inflater *i, const void *data, size_t len, size_t *used, struct buf *out, size_t max)
{
	const uint8_t *p = data;
	size_t left = len;

	int chosen = i->choosing ? choose_wrapping(i, &p, &left) : 0;
	if (chosen < 0)
		return chosen;
	if (i->choosing) {
		*used = len;
		return 0;
	}
	i->z.next_in = (Bytef *)(uintptr_t)p;
	i->z.avail_in = (uInt)left;
	i->begun |= len > 0;
	while (out->len < max && (i->z.avail_in > 0 || i->z.avail_out == 0)) {
		if (i->ended) {
			/* gzip may have several members (RFC 1952, 2.2), one after another. */
			if (i->z.avail_in == 0)
				break;
			if (i->bare || inflateReset(&i->z) != Z_OK)
				return -EBADMSG;
			i->ended = false;
		}
		size_t room = max - out->len < PIECE_BYTES ? max - out->len : PIECE_BYTES;
		buf_reserve(out, room);
		i->z.next_out = (Bytef *)out->data + out->len;
		i->z.avail_out = (uInt)room;
		int r = inflate(&i->z, Z_NO_FLUSH);
		out->len += room - i->z.avail_out;
		if (r == Z_BUF_ERROR)
			break; /* it wants more input */
		if (r != Z_OK && r != Z_STREAM_END)
			return -EBADMSG;
		i->ended = r == Z_STREAM_END;
	}
	*used = len - i->z.avail_in;
	return 0;
}

int inflater_feed(struct inflater *i, const void *data, size_t len, struct buf *out, size_t max)
{
	size_t used;
	int r = inflater_some(i, data, len, &used, out, max + 1);

	return out->len > max ? -EMSGSIZE : r;
}

void inflater_end(struct inflater *i)
{
	if (i->on)
		inflateEnd(&i->z);
	*i = (struct inflater){0};
}
